package graph

import "testing"

func TestWhichResultsAreFailures(t *testing.T) {
	for result, want := range map[string]struct {
		code   string
		failed bool
	}{
		"": {"", false}, "200/5001": {"200/5001", false}, "0/7015": {"0/7015", false}, "200": {"200", false},
		"487/10003": {"487/10003", false}, "399/1": {"399/1", false},
		"408/8537": {"408/8537", true}, "408/8544": {"408/8544", true}, "410/301005": {"410/301005", true},
		"500/1005": {"500/1005", true}, "503": {"503", true}, "480/10037": {"480/10037", true},
		"-500/1": {"", false}, "500/": {"", false}, "/1": {"", false}, "500/1\n": {"", false}, "5e2/1": {"", false},
		"500/1/2": {"", false}, "1234567890/1": {"", false}, "<b>": {"", false},
	} {
		if code, failed := ResultCode(result), Failed(result); code != want.code || failed != want.failed {
			t.Errorf("%q: the code is %q, failed %t; want %q, %t", result, code, failed, want.code, want.failed)
		}
	}
}
