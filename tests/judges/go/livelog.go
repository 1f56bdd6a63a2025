package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// directory reads tiles out of a published log, as a client of C2SP tlog-tiles would.
type directory string

func (d directory) Height() int { return height }

func (d directory) SaveTiles([]tlog.Tile, [][]byte) {}

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		data, err := d.read(strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1))
		if err != nil {
			return nil, err
		}
		// A full tile may stand in for a partial one.
		if want := tile.W * tlog.HashSize; len(data) >= want {
			data = data[:want]
		}
		out = append(out, data)
	}
	return out, nil
}

// read gives the file at a C2SP path, or the full tile when the partial one is gone.
func (d directory) read(path string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(string(d), filepath.FromSlash(path)))
	if errors.Is(err, os.ErrNotExist) {
		if cut := strings.Index(path, ".p/"); cut >= 0 {
			return os.ReadFile(filepath.Join(string(d), filepath.FromSlash(path[:cut])))
		}
	}
	return data, err
}

func judgeLog(dir, vkey string, indexes []string) error {
	log := directory(dir)
	head, err := log.checkpoint(vkey)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(head, log)
	for _, text := range indexes {
		index, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		if err := log.judgeEntry(head, reader, index); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
	}
	fmt.Printf("%d %s\n", head.N, b64(head.Hash))
	return nil
}

func (d directory) checkpoint(vkey string) (head tlog.Tree, err error) {
	data, err := d.read("checkpoint")
	if err != nil {
		return head, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return head, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return head, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return head, fmt.Errorf("unexpected checkpoint text %q", opened.Text)
	}
	if head.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return head, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return head, fmt.Errorf("bad root %q", lines[2])
	}
	copy(head.Hash[:], root)
	return head, nil
}

// judgeEntry takes the entry's bytes from its bundle and proves them to be in the tree.
func (d directory) judgeEntry(head tlog.Tree, reader tlog.HashReader, index int64) error {
	entry, err := d.entry(head.N, index)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveRecord(head.N, index, reader)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, head.N, head.Hash, index, tlog.RecordHash(entry))
}

func (d directory) entry(size, index int64) ([]byte, error) {
	bundle, width := index>>height, int64(1)<<height
	if rest := size - bundle<<height; rest < width {
		width = rest
	}
	tile := tlog.Tile{H: height, L: -1, N: bundle, W: int(width)}
	data, err := d.read(strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/data/", height), "tile/entries/", 1))
	if err != nil {
		return nil, err
	}
	rest := bytes.NewReader(data)
	for at := bundle << height; ; at++ {
		var length uint16
		if err := binary.Read(rest, binary.BigEndian, &length); err != nil {
			return nil, err
		}
		entry := make([]byte, length)
		if n, err := rest.Read(entry); n != int(length) {
			return nil, fmt.Errorf("entry bundle is cut off: %v", err)
		}
		if at == index {
			return entry, nil
		}
	}
}
