package service

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// stopWithin bounds a stop that somebody waits for: node.drain and the requests under way.
const stopWithin = 90 * time.Second

// Command is 'tandem service' and its verbs; what was asked goes to out, words to say.
func Command(out io.Writer, say func(format string, args ...any)) *cobra.Command {
	c := &cobra.Command{
		Use:   "service",
		Short: "run the node as a service of Windows",
		Long: `Makes a service named ` + DefaultName + ` of this program, which starts with the machine and again a
second after a failure, and writes its log to the Application event log. A stop, and the
machine's shutdown, drain the node. 'sc control ` + DefaultName + ` paramchange' does what 'tandem reload'
does. It takes an administrator. scripts/provision.ps1 makes folders, rights and firewall
rules as well. With systemd: systemctl enable --now tandem (deploy/tandem.service).`,
	}
	spec := Spec{Name: DefaultName}
	install := &cobra.Command{
		Use:   "install",
		Short: "make the service; it is not started",
		Example: `  tandem service install --config C:\ProgramData\Tandem\tandem.yaml
  tandem service start`,
		RunE: func(*cobra.Command, []string) (err error) {
			if spec.Config == "" {
				spec.Config = ConfigFile()
			}
			if spec.Config, err = filepath.Abs(spec.Config); err != nil {
				return fmt.Errorf("reading --config: %w", err)
			}
			if err := Install(spec); err != nil {
				return err
			}
			say("the service %s is installed, with %s; 'tandem service start' starts it", spec.Name, spec.Config)
			return nil
		},
	}
	install.Flags().StringVarP(&spec.Config, "config", "c", "", `the node's configuration file (default %ProgramData%\Tandem\tandem.yaml)`)
	install.Flags().StringVar(&spec.Account, "account", "", `what it runs as (default NT SERVICE\`+DefaultName+`, which has no password and only the rights that it is given)`)
	c.AddCommand(install,
		verb("remove", "take the service away; configuration and data stay", say, "removed", func() error { return Remove(DefaultName) }),
		verb("start", "start the service", say, "started", func() error { return Start(DefaultName) }),
		verb("stop", "drain and stop the node, and wait for it", say, "stopped", func() error { return Stop(DefaultName, stopWithin) }),
		&cobra.Command{Use: "status", Short: "whether the service runs", RunE: func(*cobra.Command, []string) error {
			word, err := Status(DefaultName)
			if err == nil {
				_, err = fmt.Fprintln(out, word)
			}
			return err
		}})
	return c
}

func verb(name, short string, say func(string, ...any), done string, do func() error) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, RunE: func(*cobra.Command, []string) error {
		if err := do(); err != nil {
			return err
		}
		say("the service %s is %s", DefaultName, done)
		return nil
	}}
}
