"""PyJWT as the other party: makes tokens of every algorithm, and reads the token on standard input."""

import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import algorithms

given = json.load(sys.stdin)
keys = {
    "EC": {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "ES384": ec.generate_private_key(ec.SECP384R1()),
    },
    "OKP": {"EdDSA": ed25519.Ed25519PrivateKey.generate()},
}
shared = rsa.generate_private_key(65537, 2048)
keys["RSA"] = {"RS256": shared, "PS256": shared, "PS384": shared}
writers = {"EC": algorithms.ECAlgorithm, "OKP": algorithms.OKPAlgorithm, "RSA": algorithms.RSAAlgorithm}

jwks, tokens = [], {}
for kind, of_kind in keys.items():
    for name, key in of_kind.items():
        member = json.loads(writers[kind].to_jwk(key.public_key()))
        jwks.append({**member, "kid": name, "use": "sig", "alg": name})
        tokens[name] = jwt.encode(given["claims"], key, algorithm=name, headers={"kid": name})

read = {}
for name, one in given["tokens"].items():
    try:
        key = jwt.PyJWKSet.from_dict(json.loads(given["jwks"])).keys[0]
        read[name] = jwt.decode(one, key, algorithms=["ES256"], issuer=given["issuer"])
    except jwt.PyJWTError as error:
        read[name] = type(error).__name__
print(json.dumps({"jwks": {"keys": jwks}, "tokens": tokens, "read": read}))
