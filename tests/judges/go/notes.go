package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

type noteVector struct {
	Seed     string `json:"seed"` // Ed25519 seed, hex
	Name     string `json:"name"`
	Verifier string `json:"verifier"`
	Text     string `json:"text"`
	Note     string `json:"note"`
}

type noteJudgement struct {
	Note  string `json:"note"`
	Opens bool   `json:"opens"` // under the verifier of the first vector
}

func notes() (interface{}, error) {
	var vectors []noteVector
	names := []string{"sovereign.local/log", "example.com/ünïcode", "a"}
	texts := []string{"sovereign.local/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", "two\n\nparagraphs — with a dash\n", "\n"}
	for i, name := range names {
		v, err := sign(name, texts[i])
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, v)
	}
	verifier, err := note.NewVerifier(vectors[0].Verifier)
	if err != nil {
		return nil, err
	}
	var judged []noteJudgement
	for _, text := range variants(vectors[0].Note, vectors[1].Note) {
		_, err := note.Open([]byte(text), note.VerifierList(verifier))
		judged = append(judged, noteJudgement{text, err == nil})
	}
	return map[string]interface{}{"notes": vectors, "judged": judged}, nil
}

func sign(name, text string) (v noteVector, err error) {
	seed := sha256.Sum256([]byte(name))
	skey, vkey, err := note.GenerateKey(bytes.NewReader(seed[:]), name)
	if err != nil {
		return v, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return v, err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return v, err
	}
	return noteVector{hex.EncodeToString(seed[:]), name, vkey, text, string(signed)}, nil
}

// variants damages a good note in ways that a parser must judge as Go does.
func variants(good, other string) []string {
	foreign := other[bytes.LastIndex([]byte(other), []byte("\n\n"))+2:]
	signature := good[bytes.LastIndex([]byte(good), []byte("\n\n"))+2:]
	return []string{
		good,
		good + foreign,
		good[:len(good)-len(signature)] + foreign + signature,
		good + signature,
		good[:len(good)-len(signature)] + foreign,
		good[:len(good)-1],
		good + "\n",
		good[1:],
		"x" + good,
		good[:len(good)-len(signature)],
		good + "trailing\n",
		good + "— no-base64 !!!!\n",
		good + "— short AAAA\n",
		good + "—  AAAAAAAA\n",
		good + "— plus+name AAAAAAAA\n",
		good + "— unknown AAAAAAAA\n",
		fmt.Sprintf("%s\r\n", good[:len(good)-1]),
		"\x00" + good,
		"",
		"\n\n",
	}
}
