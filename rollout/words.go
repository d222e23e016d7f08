package rollout

import "fmt"

func sentence(how string, mine, others share) string {
	if others.all == 0 {
		return fmt.Sprintf("%.0f of its %.0f calls %s", mine.marked, mine.all, how)
	}
	return fmt.Sprintf("%.0f of its %.0f calls %s, of the other versions' %.0f calls %.1f %%", mine.marked, mine.all, how, others.all, 100*others.marked/others.all)
}

func lastly(code string) string {
	if code == "" {
		return ""
	}
	return " (the last one: " + code + ")"
}

// Percent writes a share of ten thousand for people: "1 %", "0.5 %".
func Percent(share int) string { return fmt.Sprintf("%g %%", float64(share)/100) }
