package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

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

func (a certificates) tlsCACommand() *cobra.Command {
	var (
		dir, name string
		lifetime  time.Duration
	)
	c := &cobra.Command{
		Use:   "ca",
		Short: "make a certificate authority: ca.pem and ca-key.pem",
		RunE: func(*cobra.Command, []string) error {
			cert, key, err := transport.MakeCA(dir, name, lifetime)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s\n%s\n", cert, key)
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "where to write")
	c.Flags().StringVar(&name, "name", "Tandem cluster CA", "the authority's common name")
	c.Flags().DurationVar(&lifetime, "lifetime", 10*365*24*time.Hour, "how long it is good for")
	return c
}

func (a certificates) tlsCertCommand() *cobra.Command {
	var (
		dir, deployment, region, node string
		hosts                         []string
		lifetime                      time.Duration
	)
	c := &cobra.Command{
		Use:   "cert",
		Short: "make a node's certificate with the authority in the same directory",
		RunE: func(*cobra.Command, []string) error {
			cert, key, err := transport.MakeCert(dir, dir, deployment, ownership.Region(region), ownership.NodeID(node), hosts, lifetime)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s\n%s\n", cert, key)
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "where ca.pem and ca-key.pem are, and where to write")
	c.Flags().StringVar(&deployment, "deployment", "", "the deployment, as in the configuration")
	c.Flags().StringVar(&region, "region", "", "the node's region")
	c.Flags().StringVar(&node, "node", "", "the node's id")
	c.Flags().StringSliceVar(&hosts, "host", nil, "the names and addresses that others dial")
	c.Flags().DurationVar(&lifetime, "lifetime", 365*24*time.Hour, "how long it is good for")
	for _, must := range []string{"deployment", "region", "node", "host"} {
		_ = c.MarkFlagRequired(must)
	}
	return c
}

func (a certificates) tlsPublicCommand() *cobra.Command {
	var (
		dir, name string
		hosts     []string
		lifetime  time.Duration
	)
	c := &cobra.Command{
		Use:   "public",
		Short: "make a certificate of a public or admin door, for trials",
		RunE: func(*cobra.Command, []string) error {
			cert, key, err := transport.MakePublicCert(dir, dir, name, hosts, lifetime)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s\n%s\n", cert, key)
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "where ca.pem and ca-key.pem are, and where to write")
	c.Flags().StringVar(&name, "name", "", "the name of the files")
	c.Flags().StringSliceVar(&hosts, "host", nil, "the names and addresses that others dial")
	c.Flags().DurationVar(&lifetime, "lifetime", 90*24*time.Hour, "how long it is good for")
	for _, must := range []string{"name", "host"} {
		_ = c.MarkFlagRequired(must)
	}
	return c
}
