package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// cosigner checks cosignature/v1 lines as c2sp.org/tlog-cosignature says, for note.Open. sumdb does not know them.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
	time uint64 // of the signature that was verified last
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	c.time = binary.BigEndian.Uint64(sig)
	return c.time <= 1<<63-1 && ed25519.Verify(c.key, cosigned(c.time, msg), sig[8:])
}

func cosigned(time uint64, msg []byte) []byte {
	return append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", time)), msg...)
}

func cosignerHash(name string, key ed25519.PublicKey) uint32 {
	h := sha256.Sum256(append([]byte(name+"\n\x04"), key...))
	return binary.BigEndian.Uint32(h[:])
}

func cosignerVkey(name string, key ed25519.PublicKey) string {
	return fmt.Sprintf("%s+%08x+%s", name, cosignerHash(name, key), base64.StdEncoding.EncodeToString(append([]byte{4}, key...)))
}

func newCosigner(vkey string) (*cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("malformed vkey %q", vkey)
	}
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != 4 {
		return nil, fmt.Errorf("not a cosigner's key: %q", vkey)
	}
	c := &cosigner{name: parts[0], key: raw[1:]}
	c.hash = cosignerHash(c.name, c.key)
	if cosignerVkey(c.name, c.key) != vkey {
		return nil, fmt.Errorf("key id of %q does not belong to its key", vkey)
	}
	return c, nil
}

// judgeCosigned opens a checkpoint that the log and every given cosigner must have signed; prints their times.
func judgeCosigned(file, logVkey string, vkeys []string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	log, err := note.NewVerifier(logVkey)
	if err != nil {
		return err
	}
	verifiers := []note.Verifier{log}
	var cosigners []*cosigner
	for _, vkey := range vkeys {
		c, err := newCosigner(vkey)
		if err != nil {
			return err
		}
		cosigners = append(cosigners, c)
		verifiers = append(verifiers, c)
	}
	opened, err := note.Open(data, note.VerifierList(verifiers...))
	if err != nil {
		return err
	}
	if len(opened.Sigs) != len(verifiers) {
		return fmt.Errorf("%d of %d signatures are there", len(opened.Sigs), len(verifiers))
	}
	for _, c := range cosigners {
		fmt.Printf("%s %d\n", c.name, c.time)
	}
	return nil
}

type cosignatureVector struct {
	Seed string `json:"seed"` // Ed25519 seed, hex
	Name string `json:"name"`
	Vkey string `json:"vkey"`
	Time uint64 `json:"time"`
	Text string `json:"text"`
	Line string `json:"line"`
}

func cosignatures() (interface{}, error) {
	var vectors []cosignatureVector
	texts := []string{
		"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"sovereign.local/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nan extension line\n",
	}
	for i, name := range []string{"witness.example.com/w1", "münchen.example/zeuge"} {
		for _, time := range []uint64{1, 1679315147, 1<<63 - 1} {
			seed := sha256.Sum256([]byte(name))
			key := ed25519.NewKeyFromSeed(seed[:])
			public := key.Public().(ed25519.PublicKey)
			var raw bytes.Buffer
			binary.Write(&raw, binary.BigEndian, cosignerHash(name, public))
			binary.Write(&raw, binary.BigEndian, time)
			raw.Write(ed25519.Sign(key, cosigned(time, []byte(texts[i]))))
			line := fmt.Sprintf("— %s %s\n", name, base64.StdEncoding.EncodeToString(raw.Bytes()))
			vectors = append(vectors, cosignatureVector{hex.EncodeToString(seed[:]), name, cosignerVkey(name, public), time, texts[i], line})
		}
	}
	return map[string]interface{}{"cosignatures": vectors}, nil
}
