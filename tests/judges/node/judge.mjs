// Verifies a receipt's bundle with @sigstore/verify, which shares no code with ours.
//
//   node judge.mjs RECEIPT TRUSTED_ROOT ENVELOPE_KEY_PEM [ARTIFACT]
//
// ARTIFACT is the file that a bundle with a message signature is about.
// No timestamp is asked for: our bundles carry none, the log's checkpoint stands for itself.
import { readFileSync } from 'node:fs';
import { createPublicKey } from 'node:crypto';
import { bundleFromJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';

const [receiptPath, rootPath, keyPath, artifactPath] = process.argv.slice(2);
const bundle = bundleFromJSON(JSON.parse(readFileSync(receiptPath, 'utf8')).bundle);
const root = TrustedRoot.fromJSON(JSON.parse(readFileSync(rootPath, 'utf8')));
const publicKey = createPublicKey(readFileSync(keyPath, 'utf8'));
const hint = bundle.verificationMaterial.content.publicKey.hint;
const trust = toTrustMaterial(root, {
  [hint]: {
    rawBytes: publicKey.export({ type: 'spki', format: 'der' }),
    keyDetails: 5, // PKIX_ECDSA_P256_SHA_256
    validFor: { start: new Date(0), end: undefined },
  },
});
const verifier = new Verifier(trust, { tlogThreshold: 1, ctlogThreshold: 0, timestampThreshold: 0, tsaThreshold: 0 });
try {
  verifier.verify(toSignedEntity(bundle, artifactPath && readFileSync(artifactPath)));
  console.log('verified');
} catch (error) {
  console.log(`refused: ${error.code}: ${error.message}`);
  process.exitCode = 1;
}
