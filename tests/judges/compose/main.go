// Judge of compose files: compose-go, the specification's own library and the loader of Docker Compose.
//
//	compose-judge FILE PROFILES [KEY=VALUE...]
//
// Loads FILE as Docker Compose does: checked against the specification's schema, variables put in, extensions and merges
// resolved, references between services, volumes, networks and secrets followed. PROFILES are joined by commas. Prints the
// project as JSON; what the specification does not allow is exit code 1 and one line.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: compose-judge FILE PROFILES [KEY=VALUE...]")
		os.Exit(2)
	}
	text, err := load(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
	fmt.Println(text)
}

func load(file, profiles string, environment []string) (string, error) {
	options, err := cli.NewProjectOptions(
		[]string{file},
		cli.WithWorkingDirectory(filepath.Dir(file)),
		cli.WithEnv(environment),
		cli.WithProfiles(strings.FieldsFunc(profiles, func(each rune) bool { return each == ',' })),
	)
	if err != nil {
		return "", err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return "", err
	}
	text, err := project.MarshalJSON()
	return string(text), err
}
