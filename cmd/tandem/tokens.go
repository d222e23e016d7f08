package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/node"
	"tandem/ownership"
	"tandem/token"
)

// tokenVerbs are the verbs about tokens of the admin API.
type tokenVerbs struct{ *app }

func (a tokenVerbs) tokensCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "tokens",
		Short: "the tokens that open the admin doors of the region",
		Long: `The first token stands, as its hash, in the file that admin.tokens_file names:
'tandem tokens first' makes it. With that one the others are made. They are kept
as hashes in the region's table and open the admin doors of all of its nodes.
Without a tokens file a door on loopback is open to everybody on the machine.

Roles: read looks at everything, operate changes it (and reads), bot asks for
callback URIs, join takes nodes into the region.`,
	}
	c.AddCommand(a.tokensListCommand(), a.tokensNewCommand(), a.tokensRevokeCommand(), a.tokensFirstCommand())
	return c
}

func (a tokenVerbs) tokensListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "names, roles and ends of all tokens; never the tokens",
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Tokens(ctx)
			if err != nil {
				return err
			}
			return a.print(all, tokenRows(all, time.Now()))
		}),
	}
}

func tokenRows(all []api.TokenInfo, now time.Time) [][]string {
	rows := [][]string{{"NAME", "ROLES", "FROM", "MADE BY", "ENDS", "STATE"}}
	for _, t := range all {
		ends, state := "never", "valid"
		if !t.Expires.IsZero() {
			ends = ago(t.Expires, now)
		}
		switch {
		case !t.UsedAt.IsZero():
			state = "used for " + t.UsedFor
		case t.Expired:
			state = "expired"
		case t.Once:
			state = "for one join"
		}
		rows = append(rows, []string{t.Name, joined(t.Roles, ","), t.Origin, dash(t.MadeBy), ends, state})
	}
	return rows
}

func (a tokenVerbs) tokensNewCommand() *cobra.Command {
	var (
		roles []string
		lasts time.Duration
		once  bool
	)
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "make a token; it is printed this once and kept nowhere",
		Long: `Makes a token for the whole region and prints it on standard output. The region
keeps its hash only: whoever loses it makes another.

With --once it brings one node into the region ('tandem join' on a node of the
region) and ends with that; the role is then join.`,
		Example: `  tandem tokens new grafana --role read
  tandem tokens new emea-4 --once --for 1h`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringSliceVar(&roles, "role", nil, "what it may do: read, operate, bot, join; several with commas")
	c.Flags().DurationVar(&lasts, "for", 0, "how long it is valid, such as 1h or 720h; 0: until it is revoked")
	c.Flags().BoolVar(&once, "once", false, "for one node's join only")
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, args []string) error {
		ask := api.TokenAsk{Name: args[0], Once: once}
		if once && len(roles) == 0 {
			roles = []string{string(api.RoleJoin)}
		}
		ask.Roles = ownership.Words[api.Role](roles)
		switch {
		case len(roles) == 0:
			return usage("name what it may do with --role read, operate, bot or join")
		case once && lasts == 0:
			return usage("a token for one use must end: say when with --for, such as --for 1h")
		case lasts < 0:
			return usage("--for is %s: give a time above zero", lasts)
		}
		if lasts > 0 {
			ask.Expires = time.Now().Add(lasts).UTC()
		}
		made, err := door.MakeToken(ctx, ask)
		if err != nil {
			return err
		}
		if a.client.format != "table" {
			return a.print(made, nil)
		}
		a.done("made %s; this is the only time it is shown", made.Name)
		_, err = fmt.Fprintln(a.out, made.Token)
		return err
	})
	return c
}

func (a tokenVerbs) tokensRevokeCommand() *cobra.Command {
	return a.acting("revoke NAME", "take a token of the region back, at once", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (string, error) {
			return args[0] + " opens nothing any more", c.RevokeToken(ctx, args[0])
		})
}

func (a tokenVerbs) tokensFirstCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "first NAME",
		Short: "make the tokens file with a first operator's token, which is printed",
		Long: `Writes a tokens file with one entry, the hash of a new token with the roles
operate and join, and prints the token on standard output. Give the file to every
node as admin.tokens_file. With the token in TANDEM_TOKEN nodes are brought in
('tandem join') and the other tokens made ('tandem tokens new').`,
		Example: "  tandem tokens first alice --out /etc/tandem/tokens.yaml > alice.token",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.firstToken(args[0], file) },
	}
	c.Flags().StringVarP(&file, "out", "o", "", "the file to make; it must not exist")
	return c
}

// firstToken makes the file and reads it back as a node would, so that a name
// that a node refuses leaves no file behind.
func (a tokenVerbs) firstToken(name, file string) error {
	if file == "" {
		return usage("name the file to make with --out")
	}
	secret := admin.SecretPrefix + rand.Text()
	entry := map[string]any{"name": name, "roles": []api.Role{api.RoleOperate, api.RoleJoin}, "sha256": admin.HashToken(secret)}
	text, err := yaml.Marshal(map[string]any{"tokens": []any{entry}})
	if err != nil {
		return fmt.Errorf("writing the tokens file: %w", err)
	}
	if err := writeNew(file, text); err != nil {
		return fmt.Errorf("making the tokens file: %w", err)
	}
	if err := admin.CheckTokensFile(file); err != nil {
		return errors.Join(fmt.Errorf("writing the tokens file: %w", err), os.Remove(file))
	}
	a.done("%s holds the hash of %s's token; this is the only time the token is shown", file, name)
	_, err = fmt.Fprintln(a.out, secret)
	return err
}

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
