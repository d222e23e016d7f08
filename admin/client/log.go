package client

import (
	"context"
	"net/http"

	"tandem/admin/api"
)

// Log asks a client's door about the steps that nodes write to their logs.
type Log struct{ *Client }

// Following tells whose steps the region's nodes write.
func (l Log) Following(ctx context.Context) (api.LogFollows, error) {
	return get[api.LogFollows](ctx, l.Client, "/v1/log", nil)
}

// Set changes it.
func (l Log) Set(ctx context.Context, ask api.LogAsk) (api.LogFollows, error) {
	return exchange[api.LogFollows](ctx, l.Client, http.MethodPut, "/v1/log", ask)
}
