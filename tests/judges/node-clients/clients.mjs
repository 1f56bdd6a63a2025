// Runs one scenario with an unmodified client against the gateway and prints what the client saw, as JSON.
//
//   GATEWAY_URL=http://127.0.0.1:8080/v1 GATEWAY_KEY=sk-... node clients.mjs openai.create
//
// The scenarios are written as users write them: naive loops, no options that are not needed.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { z } from "zod";

const baseURL = process.env.GATEWAY_URL;
const apiKey = process.env.GATEWAY_KEY;
const headers = JSON.parse(process.env.GATEWAY_HEADERS ?? "{}");
const model = process.env.GATEWAY_MODEL ?? "chat";
const messages = [{ role: "user", content: "Say hello to the reader" }];
const asking = [{ role: "user", content: "Please call a tool" }];
const tools = [
  { type: "function", function: { name: "look", parameters: { type: "object", properties: { city: { type: "string" } } } } },
];

const openai = new OpenAI({ baseURL, apiKey, defaultHeaders: headers });
const compatible = createOpenAICompatible({ name: "gateway", baseURL, apiKey, headers, includeUsage: true });

async function naive(stream) {
  const seen = { text: "", arguments: "", finish: [], chunks: 0, attestation: null };
  for await (const chunk of stream) {
    const choice = chunk.choices[0]; // as in every tutorial: no check that there is one
    seen.text += choice.delta.content ?? "";
    seen.arguments += choice.delta.tool_calls?.[0]?.function?.arguments ?? "";
    if (choice.finish_reason) seen.finish.push(choice.finish_reason);
    seen.attestation ??= chunk._sf_attestation ?? null;
    seen.chunks += 1;
  }
  return seen;
}

const scenarios = {
  async "openai.create"() {
    const { data, request_id } = await openai.chat.completions.create({ model, messages }).withResponse();
    return { text: data.choices[0].message.content, request_id, attestation: data._sf_attestation };
  },
  async "openai.stream"() {
    return naive(await openai.chat.completions.create({ model, messages, stream: true }));
  },
  async "openai.stream.tools"() {
    return naive(await openai.chat.completions.create({ model, messages: asking, tools, stream: true }));
  },
  async "openai.stream.usage"() {
    const stream = await openai.chat.completions.create({
      model, messages, stream: true, stream_options: { include_usage: true },
    });
    const usage = [];
    let text = "";
    for await (const chunk of stream) {
      if (chunk.usage) usage.push({ choices: chunk.choices.length, total: chunk.usage.total_tokens });
      text += chunk.choices[0]?.delta?.content ?? "";
    }
    return { usage, text };
  },
  async "openai.stream.helper"() {
    const runner = openai.chat.completions.stream({ model, messages });
    let deltas = "";
    runner.on("content", (delta) => { deltas += delta; });
    const completion = await runner.finalChatCompletion();
    return { deltas, text: completion.choices[0].message.content, finish: completion.choices[0].finish_reason };
  },
  async "openai.parse"() {
    const Answer = z.object({ city: z.string(), people: z.number().int() });
    const completion = await openai.chat.completions.parse({
      model, messages, response_format: zodResponseFormat(Answer, "answer"),
    });
    return { parsed: completion.choices[0].message.parsed, attestation: completion._sf_attestation };
  },
  async "openai.embeddings"() {
    const floats = await openai.embeddings.create({ model: "embed", input: ["a", "b"], encoding_format: "float" });
    const packed = await openai.embeddings.create({ model: "embed", input: ["a", "b"] });
    return {
      floats: floats.data.map((each) => each.embedding),
      packed: packed.data.map((each) => each.embedding),
      attestation: floats._sf_attestation,
    };
  },
  async "openai.models"() {
    const listed = [];
    for await (const each of openai.models.list()) listed.push(each.id);
    return { listed, one: await openai.models.retrieve("org/deep:model@1") };
  },
  async "ai.generate"() {
    const result = await generateText({ model: compatible(model), messages, maxRetries: 0 });
    return { text: result.text, finish: result.finishReason, usage: result.usage };
  },
  async "ai.stream"() {
    const errors = [];
    const result = streamText({
      model: compatible(model), messages, maxRetries: 0, onError: ({ error }) => errors.push(String(error)),
    });
    let text = "";
    for await (const delta of result.textStream) text += delta;
    return { text, finish: await result.finishReason, usage: await result.usage, errors };
  },
};

async function main(name) {
  try {
    return { result: await scenarios[name]() };
  } catch (error) {
    return {
      raised: error.constructor.name, status: error.status ?? error.statusCode ?? null, code: error.code ?? null,
      param: error.param ?? null, type: error.type ?? null, request_id: error.requestID ?? null, message: error.message,
    };
  }
}

console.log(JSON.stringify(await main(process.argv[2])));
