package main

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"time"

	"tandem/graphsim"
)

// publicKey reads the key that signs, where the doors read it.
func publicKey(ctx context.Context, cloud *graphsim.Cloud) (*rsa.PublicKey, error) {
	raw, err := cloud.Mint(graphsim.TokenOptions{})
	if err != nil {
		return nil, err
	}
	var head struct{ Kid string }
	first, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err == nil {
		err = json.Unmarshal(text, &head)
	}
	if err != nil {
		return nil, err
	}
	var doc struct {
		Keys string `json:"jwks_uri"`
	}
	if err := get(ctx, cloud.OpenIDURL(), &doc); err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ Kid, N, E string } `json:"keys"`
	}
	if err := get(ctx, doc.Keys, &set); err != nil {
		return nil, err
	}
	for _, k := range set.Keys {
		n, err := base64.RawURLEncoding.DecodeString(k.N)
		e, err2 := base64.RawURLEncoding.DecodeString(k.E)
		if k.Kid == head.Kid && err == nil && err2 == nil {
			return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
		}
	}
	return nil, fmt.Errorf("%s does not list the key that signs", doc.Keys)
}

func get(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	return json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(into)
}
