package node

import (
	"errors"
	"fmt"
	"reflect"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/webhook"
)

// Reread reads the configuration again, as Config.Reread does, and puts it in force like
// Reload: what SIGHUP, the admin door and a Windows service's control do. The answer names
// the sections that wait for a restart. An error means that what was in force stays.
func (n *Node) Reread() (api.Reloaded, error) {
	if n.cfg.Reread == nil {
		return api.Reloaded{}, errors.New("this node was started by a program that has no configuration to read again")
	}
	fresh, err := n.cfg.Reread()
	if err == nil {
		err = n.Reload(fresh)
	}
	if err != nil {
		n.log.Error("reloading: what was in force stays", "err", err)
		return api.Reloaded{}, fmt.Errorf("what was in force stays: %w", err)
	}
	return api.Reloaded{Waiting: n.cfg.restartFor(fresh.Filled())}, nil
}

// Reload puts the parts of a new configuration in force that need no restart:
// certificates, admin tokens, handle keys, secrets of bots, rules, pins and the log level. If
// one of them cannot be read, all of the old ones stay. What else has changed
// waits for a restart, and the log says so.
func (n *Node) Reload(c Config) error {
	n.reloads.Lock()
	defer n.reloads.Unlock()
	c.Bot = n.cfg.Bot
	c = c.Filled()
	if err := c.Check(); err != nil {
		return fmt.Errorf("the configuration does not hold:\n%w", err)
	}
	compiled, err := c.policy()
	if err != nil {
		return err
	}
	if err := n.cfg.knowsRegionsOf(compiled.Document); err != nil {
		return err
	}
	keys, err := webhook.ReadKeys(c.HandleKeysFile)
	if err == nil {
		_, err = webhook.NewHandles(keys)
	}
	if err != nil {
		return fmt.Errorf("reading handle_keys_file: %w", err)
	}
	if file := n.cfg.Admin.TokensFile; file != "" {
		if err := admin.CheckTokensFile(file); err != nil {
			return fmt.Errorf("reading admin.tokens_file: %w", err)
		}
	}
	secrets, err := n.botSecretsOf(c)
	if err != nil {
		return err
	}
	fresh, err := n.certs.read()
	if err != nil {
		return err
	}
	// The last part that reads and the first that takes effect; nothing after it
	// can fail, but for a file that changes under our hands.
	if err := n.region.ReloadTLS(); err != nil {
		return fmt.Errorf("reading cluster.tls: %w", err)
	}
	n.certs.use(fresh)
	for app, secret := range secrets {
		n.botSecrets[app].Store(secret)
	}
	if err := n.handles.Replace(keys); err != nil {
		return fmt.Errorf("reading handle_keys_file: %w", err)
	}
	if !n.rules.SetFile(compiled) {
		n.log.Info("the rules, tables and pins of the configuration are read and not used: the region has rules that were set")
	}
	setLevel(n.logs.level, c.Log.Level)
	if err := n.private.ReloadTokens(); err != nil {
		return fmt.Errorf("reading admin.tokens_file: %w", err)
	}
	for _, section := range n.cfg.restartFor(c) {
		n.log.Warn("a change of the configuration waits for a restart of this node", "section", section)
	}
	n.log.Info("reloaded: certificates, admin tokens, handle keys, secrets of bots, rules, pins, log level")
	return nil
}

// restartFor names the sections that differ and that Reload does not put in
// force.
func (c Config) restartFor(next Config) []string {
	all := []string{}
	for _, s := range []struct {
		name     string
		old, new any
	}{
		{"deployment", c.Deployment, next.Deployment},
		{"node", c.Node, next.Node},
		{"public", c.Public, next.Public},
		{"cluster", c.Cluster, next.Cluster},
		{"admin", c.Admin, next.Admin},
		{"auth", c.Auth, next.Auth},
		{"apps", c.Apps, next.Apps},
		{"regions", c.Regions, next.Regions},
		{"azure", c.Azure, next.Azure},
	} {
		if !reflect.DeepEqual(s.old, s.new) {
			all = append(all, s.name)
		}
	}
	return all
}
