package spelling

import "testing"

func TestB99_PublicURLsThatNoNodeMayHave(t *testing.T) {
	for _, bad := range []string{
		"", "http://169.254.169.254", "https://169.254.169.254/latest", "https://[fe80::1]", "https://[::ffff:169.254.169.254]", "https://[fd00:ec2::254]",
		"https://168.63.129.16", "https://100.100.100.200", "https://2852039166", "https://0xa9fea9fe", "https://169.254.43518", "https://169.254.169.254.",
		"https://0.0.0.0", "https://224.0.0.1", "http://bot.example", "http://localhost.example", "file:///etc/passwd", "javascript:alert(1)", "//evil.example",
		"https://", "https://:443", "https:bot.example", "bot.example", "https://user@bot.example", "https://user:pass@bot.example", "https://@bot.example",
		"https://bot.example/", "https://bot.example//x", "https://bot.example?x", "https://bot.example?", "https://bot.example#", "https://bot.example#x",
		"https://bot.example\r\nX: y", `https://bot.example\evil`, "https://bot.example /x", "https://bot.example/a/../b", "https://bot.example/%2e",
		"HTTPS://bot.example", "https://bot.example/é", "https://bot.example:port",
	} {
		if PublicURL(bad) == nil {
			t.Errorf("B99: %q is taken", bad)
		}
	}
	for _, good := range []string{
		"https://bot.example", "https://bot.example:8443", "https://bot.example/prefix/x", "https://bot", "https://10.0.0.7", "https://[2001:db8::7]:8443",
		"http://127.0.0.1:80", "http://[::1]:80", "http://localhost:9", "http://emea.localhost:9",
	} {
		if err := PublicURL(good); err != nil {
			t.Error(err)
		}
	}
}
