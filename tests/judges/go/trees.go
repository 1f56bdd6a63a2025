package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// memory keeps the hashes of a tree the way sumdb stores them.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(m)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		found[i] = m[index]
	}
	return found, nil
}

// leaf is the i-th entry of every tree in the vectors.
func leaf(i int64) []byte { return []byte(fmt.Sprintf("leaf %d", i)) }

type inclusion struct {
	Index int64    `json:"index"`
	Path  []string `json:"path"`
}

type consistency struct {
	Old  int64    `json:"old"`
	Path []string `json:"path"`
}

type tree struct {
	Size        int64             `json:"size"`
	Root        string            `json:"root"`
	Tiles       map[string]string `json:"tiles"` // path -> SHA-256 of the content
	Inclusion   []inclusion       `json:"inclusion"`
	Consistency []consistency     `json:"consistency"`
}

func trees() (interface{}, error) {
	var hashes memory
	var out []tree
	size := int64(0)
	for _, wanted := range []int64{0, 1, 2, 255, 256, 257, 65536, 70000} {
		for ; size < wanted; size++ {
			stored, err := tlog.StoredHashes(size, leaf(size), hashes)
			if err != nil {
				return nil, err
			}
			hashes = append(hashes, stored...)
		}
		t, err := describe(wanted, hashes)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return map[string]interface{}{"leaf": "the text 'leaf ' and the index in decimal", "trees": out}, nil
}

func describe(size int64, hashes memory) (t tree, err error) {
	// TreeHash refuses size 0; RFC 6962 says SHA-256 of nothing.
	root := tlog.Hash(sha256.Sum256(nil))
	if size > 0 {
		if root, err = tlog.TreeHash(size, hashes); err != nil {
			return t, err
		}
	}
	t = tree{Size: size, Root: b64(root), Tiles: map[string]string{}, Inclusion: []inclusion{}, Consistency: []consistency{}}
	for _, tile := range tlog.NewTiles(height, 0, size) {
		data, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return t, err
		}
		sum := sha256.Sum256(data)
		// C2SP paths leave out the height, which is always 8 there.
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		t.Tiles[path] = hex.EncodeToString(sum[:])
	}
	for _, index := range []int64{0, 1, 127, 254, 255, 256, 4095, 65535, 65536, 69999} {
		if index < size {
			proof, err := tlog.ProveRecord(size, index, hashes)
			if err != nil {
				return t, err
			}
			t.Inclusion = append(t.Inclusion, inclusion{index, list(proof)})
		}
	}
	for _, old := range []int64{1, 2, 3, 128, 255, 256, 257, 40000, 65536, 69999, 70000} {
		if old <= size {
			proof, err := tlog.ProveTree(size, old, hashes)
			if err != nil {
				return t, err
			}
			t.Consistency = append(t.Consistency, consistency{old, list(proof)})
		}
	}
	return t, nil
}

func b64(h tlog.Hash) string { return base64.StdEncoding.EncodeToString(h[:]) }

func list(hashes []tlog.Hash) []string {
	out := []string{}
	for _, h := range hashes {
		out = append(out, b64(h))
	}
	return out
}
