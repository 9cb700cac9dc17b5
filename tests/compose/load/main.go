// Loads a Compose project and a Dockerfile with the libraries that Docker itself uses, and prints the project as JSON.
//
//	go run . COMPOSE_FILE [PROFILE...]
//
// Exits 1 with a line on standard error when either is not valid.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(file string, profiles []string) error {
	project, err := load(file, profiles)
	if err != nil {
		return err
	}
	for name, service := range project.Services {
		if service.Build == nil {
			continue
		}
		if err := parse(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	json, err := project.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(json)
	return err
}

// load refuses what the specification's schema does not allow, and names that nothing defines.
func load(file string, profiles []string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithProfiles(profiles))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

// parse refuses a Dockerfile that BuildKit would refuse, and what its linter warns of.
func parse(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	result, err := parser.Parse(file)
	if err != nil {
		return err
	}
	var warned error
	warn := func(rule, description, _, message string, _ []parser.Range) {
		warned = fmt.Errorf("%s: %s: %s (%s)", path, rule, message, description)
	}
	if _, _, err = instructions.Parse(result.AST, linter.New(&linter.Config{Warn: warn})); err != nil {
		return err
	}
	return warned
}
