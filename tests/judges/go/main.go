// Command judge looks at our log with Go's own implementation of notes and tiles (golang.org/x/mod/sumdb),
// which shares no code with ours.
//
//	judge vectors                      print tests/vectors/tlog/trees.json
//	judge notes                        print tests/vectors/tlog/notes.json
//	judge cosignatures                 print tests/vectors/tlog/cosignatures.json
//	judge cosigned FILE VKEY VKEY...   verify a checkpoint signed by a log and by cosigners
//	judge log DIR VKEY INDEX...        verify a published log directory and the inclusion of entries
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "vectors":
		return printJSON(trees())
	case len(args) == 1 && args[0] == "notes":
		return printJSON(notes())
	case len(args) == 1 && args[0] == "cosignatures":
		return printJSON(cosignatures())
	case len(args) >= 3 && args[0] == "cosigned":
		return judgeCosigned(args[1], args[2], args[3:])
	case len(args) >= 3 && args[0] == "log":
		return judgeLog(args[1], args[2], args[3:])
	}
	return fmt.Errorf("usage: judge vectors | notes | cosignatures | cosigned FILE VKEY... | log DIR VKEY INDEX...")
}

func printJSON(value interface{}, err error) error {
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	return encoder.Encode(value)
}
