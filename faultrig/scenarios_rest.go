package faultrig

import (
	"slices"
	"time"
)

func sorted(all []time.Duration) []time.Duration { return slices.Sorted(slices.Values(all)) }

func diskScenarios() []Scenario    { return nil }
func networkScenarios() []Scenario { return nil }
func memberScenarios() []Scenario  { return nil }
func routeScenarios() []Scenario   { return nil }
func cgroupDir() string            { return "" }
