package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/node"
	"tandem/token"
)

// keysPatience is how long token explain waits for the issuers' keys.
const keysPatience = 10 * time.Second

func (a *app) tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "say why a webhook's bearer token passes or not",
		Args:  noToken,
	}
	var (
		f    configFlags
		file string
	)
	explain := &cobra.Command{
		Use:   "explain",
		Short: "check a token claim by claim, as the public door would",
		Long: `Reads a bearer token from standard input (or --file), fetches the issuers' keys
as a node with this configuration would, and says claim by claim what passes and
what does not. The token is not printed, and not taken as an argument: arguments
stand in the process list.`,
		Example: "  tandem token explain --config /etc/tandem/tandem.yaml < token.txt",
		Args:    noToken,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(f.file, a.environ, f.sets)
			if err != nil {
				return err
			}
			return a.explainToken(cmd.Context(), cfg.Config, file)
		},
	}
	f.register(explain)
	explain.Flags().StringVar(&file, "file", "-", "a file with the token; - reads standard input")
	c.AddCommand(explain)
	return c
}

// noToken refuses arguments without repeating them: one may be a token that is
// good right now.
func noToken(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("'tandem token explain' reads the token from standard input or --file, and takes no argument: arguments stand in the process list and in the shell's history")
	}
	return nil
}

func (a *app) explainToken(ctx context.Context, cfg node.Config, file string) error {
	raw, err := readToken(file)
	if err != nil {
		return err
	}
	v, err := node.Tokens(ctx, cfg)
	if err != nil {
		return fmt.Errorf("reading the apps and profiles of the configuration: %w", err)
	}
	defer func() { _ = v.Close() }() // nothing of it is kept
	wait, cancel := context.WithTimeout(ctx, keysPatience)
	defer cancel()
	if err := v.WaitReady(wait); err != nil {
		a.done("the issuers' keys have not all arrived: %v", err)
	}
	x := v.Explain(ctx, raw)
	if err := a.print(x, [][]string{{strings.TrimRight(x.String(), "\n")}}); err != nil {
		return err
	}
	if !x.Accepted {
		return errors.New("the token would be refused")
	}
	return nil
}

// readToken reads a token; Explain takes off the scheme in front of it.
func readToken(file string) (string, error) {
	text, err := readInput(file, 2*token.MaxTokenBytes)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	raw := strings.TrimSpace(string(text))
	if raw == "" {
		return "", usage("there is no token on standard input; see 'tandem token explain --help'")
	}
	return raw, nil
}
