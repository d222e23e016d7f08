package graphsim

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// firstParcel addresses the registered webhook; other: from another data centre
// than the call's.
func (c *Cloud) firstParcel(k *call, body string, other bool, notices ...*notice) parcel {
	message := k.dice.guid()
	var tries atomic.Int32
	return parcel{
		call: k, notices: notices, message: message, body: body, header: c.header(k, message),
		to: func() (spot, bool) {
			repeat := tries.Add(1) > 1 || other
			if len(notices) > 0 {
				if uri := c.hostCallback(k); uri != "" {
					return c.places.resolve(uri, k.dice), true
				}
			}
			return c.webhook(k, repeat)
		},
	}
}

// hostCallback returns the callback URI of the live call that invites another one.
func (c *Cloud) hostCallback(k *call) string {
	if k.host == nil {
		return ""
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	if h := k.host; h.answeredAt.IsZero() || h.over || h.end != nil {
		return ""
	}
	if !k.invited {
		k.invited = true
		c.ledger.invited++
	}
	return k.host.callback
}

// awaitHost lets the first call of a meeting be answered before it invites others.
func (c *Cloud) awaitHost(ctx context.Context, k *call) {
	if k.host == nil {
		return
	}
	t := time.NewTimer(k.host.clock)
	defer t.Stop()
	select {
	case <-k.host.answered:
	case <-t.C:
	case <-ctx.Done():
	}
}

// webhook resolves the registered name, from where the call is. A resolver
// keeps its answer, so that a repeat goes to the same region unless it wanders.
func (c *Cloud) webhook(k *call, repeat bool) (spot, bool) {
	region := k.region
	if repeat && k.dice.chance(c.cfg.Rates.Wander) {
		names := c.places.names()
		if len(names) > 0 {
			region = names[k.dice.n(len(names))]
		}
	}
	t, ok := c.places.nearest(region, k.dice)
	return spot{url: strings.TrimRight(t.URL, "/") + c.cfg.WebhookPath, node: t.Node, region: t.Region, kind: hopNode}, ok
}

// header is what the service sends (msteams-docs#9170).
func (c *Cloud) header(k *call, message string) http.Header {
	d, r := k.dice, c.cfg.Rates
	token := k.token
	if d.chance(r.FreshToken) || time.Since(k.born) > c.cfg.Timings.TokenLife/2 {
		fresh, err := c.Mint(TokenOptions{Audience: k.app.ID, Tenant: k.tenant, Issuer: c.issuer(d)})
		if err != nil {
			c.cfg.Logger.Error("minting a token", "err", err)
		}
		token = fresh
	}
	h := http.Header{}
	h.Set("Authorization", "Bearer "+token)
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json")
	h.Set("User-Agent", "Microsoft-Skype/3.0,(Calling/1.0)")
	h.Set("X-Microsoft-Skype-Chain-ID", k.chain)
	h.Set("X-Microsoft-Skype-Message-ID", message)
	h.Set("X-Microsoft-Skype-Caller-Region", k.origin.Geo)
	h.Set("MS-Teams-Ring", "general")
	h.Set("MS-Teams-Region", k.dc)
	h.Set("Client-Request-Id", d.guid())
	if d.chance(r.Close) {
		h.Set("Connection", "close")
	}
	return h
}

func (c *Cloud) issuer(d *dice) string {
	if d.chance(0.1) {
		return IssuerGraph
	}
	return IssuerBotFramework
}
