package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// certificates are the commands that make and look at certificates.
type certificates struct{ *app }

func (a certificates) tlsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "tls",
		Short: "make the certificates of the cluster port",
		Long: `The nodes of a region speak mutual TLS. A certificate names its deployment,
region and node; a node that says it is another one is refused.

  tandem tls ca   --dir /etc/tandem/tls
  tandem tls cert --dir /etc/tandem/tls --deployment contoso-bots --region emea --node emea-1 --host 10.0.0.1

They write ca.pem and ca-key.pem, emea-1.pem and emea-1-key.pem. Keep ca-key.pem
away from the nodes: they need ca.pem, and their own pair.

The public door needs a certificate that the calling cloud trusts, from a public
authority: it is another thing than the node's identity. For trials,

  tandem tls public --dir trial --name emea-1 --host emea.bot.test

makes one with an authority of its own in that directory; no cloud trusts it.`,
	}
	c.AddCommand(a.tlsCACommand(), a.tlsCertCommand(), a.tlsPublicCommand())
	return c
}

// making is a command that writes a certificate and its key, and prints where they are.
func (a certificates) making(use, short, where string, lifetime time.Duration, pair func(dir string, lifetime time.Duration) (cert, key string, err error)) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(*cobra.Command, []string) error {
			cert, key, err := pair(dir, lifetime)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s\n%s\n", cert, key)
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", where)
	c.Flags().DurationVar(&lifetime, "lifetime", lifetime, "how long it is good for")
	return c
}

// Where a signed pair is written, and whom it is for.
const (
	besideTheCA = "where ca.pem and ca-key.pem are, and where to write"
	dialled     = "the names and addresses that others dial"
)

func (a certificates) tlsCACommand() *cobra.Command {
	var name string
	c := a.making("ca", "make a certificate authority: ca.pem and ca-key.pem", "where to write", 10*365*24*time.Hour,
		func(dir string, lifetime time.Duration) (string, string, error) {
			return transport.MakeCA(dir, name, lifetime)
		})
	c.Flags().StringVar(&name, "name", "Tandem cluster CA", "the authority's common name")
	return c
}

func (a certificates) tlsCertCommand() *cobra.Command {
	var (
		deployment, region, node string
		hosts                    []string
	)
	c := a.making("cert", "make a node's certificate with the authority in the same directory", besideTheCA, 365*24*time.Hour,
		func(dir string, lifetime time.Duration) (string, string, error) {
			return transport.MakeCert(dir, dir, deployment, ownership.Region(region), ownership.NodeID(node), hosts, lifetime)
		})
	c.Flags().StringVar(&deployment, "deployment", "", "the deployment, as in the configuration")
	c.Flags().StringVar(&region, "region", "", "the node's region")
	c.Flags().StringVar(&node, "node", "", "the node's id")
	c.Flags().StringSliceVar(&hosts, "host", nil, dialled)
	return needing(c, "deployment", "region", "node", "host")
}

func (a certificates) tlsPublicCommand() *cobra.Command {
	var (
		name  string
		hosts []string
	)
	c := a.making("public", "make a certificate of a public or admin door, for trials", besideTheCA, 90*24*time.Hour,
		func(dir string, lifetime time.Duration) (string, string, error) {
			return transport.MakePublicCert(dir, dir, name, hosts, lifetime)
		})
	c.Flags().StringVar(&name, "name", "", "the name of the files")
	c.Flags().StringSliceVar(&hosts, "host", nil, dialled)
	return needing(c, "name", "host")
}

// needing makes flags of a command obligatory.
func needing(c *cobra.Command, flags ...string) *cobra.Command {
	for _, f := range flags {
		_ = c.MarkFlagRequired(f)
	}
	return c
}

func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "make the keys that sign callback URIs",
		Long: `Every node of every region reads the same handle keys file. Its first key signs
new callback URIs, all of its keys verify old ones. To change the key without
losing a live call:

  1. append the new key to the file of every node and reload (SIGHUP);
  2. move it to the first line everywhere and reload;
  3. when the last call from before has ended, remove the old line and reload.`,
	}
	var file string
	fresh := &cobra.Command{
		Use:     "new",
		Short:   "print a new key line, or write a new file with --out",
		Example: "  tandem keys new --out /etc/tandem/handle-keys",
		RunE: func(*cobra.Command, []string) error {
			line := newHandleKey()
			if file == "" {
				_, err := fmt.Fprint(a.out, line)
				return err
			}
			if err := writeNew(file, []byte(line)); err != nil {
				return fmt.Errorf("making the handle keys file: %w", err)
			}
			return nil
		},
	}
	fresh.Flags().StringVarP(&file, "out", "o", "", "the file to make; it must not exist")
	c.AddCommand(fresh)
	return c
}

// newHandleKey makes one line of a handle keys file: an id, and 32 random bytes.
func newHandleKey() string {
	var secret [36]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(secret[:4]) + ":" + base64.StdEncoding.EncodeToString(secret[4:]) + "\n"
}
