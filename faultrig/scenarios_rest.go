package faultrig

import (
	"slices"
	"time"
)

func sorted(all []time.Duration) []time.Duration { return slices.Sorted(slices.Values(all)) }

func routeScenarios() []Scenario { return nil }
