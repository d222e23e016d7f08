package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// configFlags are the flags of every command that reads a node's configuration.
type configFlags struct {
	file string
	sets []string
}

func (f *configFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "config", "c", "", "the node's configuration file (YAML)")
	c.Flags().StringArrayVar(&f.sets, "set", nil, "one value over file and environment, such as --set node.id=emea-1; may be repeated")
}

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "check a node's configuration, or show where each value comes from",
		Long: `A value comes from, later ones winning: defaults, the file, the environment
(TANDEM_NODE_ID is node.id), --set flags. A text is taken as it is, whatever it
looks like; a list of texts has commas between them; lists with parts, such as
apps, are written as YAML. An unknown key is an error that names its line.
Secrets stand in files that the configuration names, or in the environment:
TANDEM_APPS_0_GRAPH_CLIENT_SECRET and TANDEM_APPS_0_BOT_SECRET are the first app's.`,
	}
	c.AddCommand(a.configValidateCommand(), a.configShowCommand())
	return c
}

func (a *app) configValidateCommand() *cobra.Command {
	var (
		f       configFlags
		offline bool
	)
	c := &cobra.Command{
		Use:   "validate",
		Short: "say everything that is wrong with a configuration",
		Long: `What holds here starts. The files that the configuration names are read as well:
keys, secrets and tokens must be readable, certificates pairs that are not over and
for the right host. With --offline the text alone is checked, on any machine.`,
		Example: "  tandem config validate --config deploy/tandem.yaml --offline",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadConfig(f.file, a.environ, f.sets)
			if err != nil {
				return err
			}
			if err := cfg.Check(); err != nil {
				return fmt.Errorf("the configuration does not hold:\n%w", err)
			}
			notices := cfg.Notices()
			if !offline {
				more, err := cfg.CheckFiles(time.Now())
				if err != nil {
					return fmt.Errorf("the configuration does not hold with its files (--offline checks the text alone):\n%w", err)
				}
				notices = append(notices, more...)
			}
			for _, text := range notices {
				a.done("%s", text)
			}
			_, err = fmt.Fprintln(a.out, "the configuration holds")
			return err
		},
	}
	f.register(c)
	c.Flags().BoolVar(&offline, "offline", false, "check the text alone, without the files that it names")
	return c
}

func (a *app) configShowCommand() *cobra.Command {
	var (
		f      configFlags
		origin bool
	)
	c := &cobra.Command{
		Use:   "show",
		Short: "print the configuration as the node would see it",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadConfig(f.file, a.environ, f.sets)
			if err != nil {
				return err
			}
			if origin {
				return a.print(cfg.Settings, settingRows(cfg.Settings))
			}
			text := mustYAML(cfg.Filled())
			if a.client.format != "json" {
				_, err = a.out.Write(text)
				return err
			}
			var plain any
			if err := yaml.Unmarshal(text, &plain); err != nil {
				return fmt.Errorf("writing the configuration: %w", err)
			}
			return a.print(plain, nil)
		},
	}
	f.register(c)
	c.Flags().BoolVar(&origin, "origin", false, "a line a value, with where it was said")
	return c
}

// settingRows shows each value as JSON has it, on one line.
func settingRows(all []setting) [][]string {
	rows := make([][]string, len(all))
	for i, s := range all {
		text, err := json.Marshal(s.Value)
		if err != nil {
			text = fmt.Append(nil, s.Value) // of a map with odd keys
		}
		rows[i] = []string{s.Key, fmt.Sprintf("%.60s", text), s.Origin}
	}
	return rows
}
