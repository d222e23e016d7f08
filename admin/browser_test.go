package admin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browser starts a real Chromium, or skips the test loudly: Debian's package chromium is
// enough.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED, THE PAGES WERE SEEN BY NO BROWSER: there is no chromium on this machine (apt-get install chromium)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, quit := chromedp.NewContext(ctx, chromedp.WithAllocatorOptions(chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU))
	t.Cleanup(quit)
	return ctx
}

// visit opens a page in a window of some width, in light or dark.
func visit(t *testing.T, ctx context.Context, url string, width int64, scheme string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), colours(scheme), chromedp.Navigate(url)); err != nil {
		t.Fatalf("opening %s: %v", url, err)
	}
}

// picture keeps what the window shows where TANDEM_SHOTS names a folder.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("TANDEM_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestShots takes pictures of a running console: TANDEM_CONSOLE and TANDEM_SHOTS.
func TestShots(t *testing.T) {
	at := os.Getenv("TANDEM_CONSOLE")
	if at == "" {
		t.Skip()
	}
	ctx := browser(t)
	for _, page := range strings.Fields(os.Getenv("TANDEM_PAGES")) {
		for _, width := range []int64{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				if (width == 390) != (scheme == "dark") && os.Getenv("TANDEM_ALL") == "" {
					continue
				}
				visit(t, ctx, at+page, width, scheme)
				picture(t, ctx, fmt.Sprintf("%s-%d-%s", strings.NewReplacer("/", "_", "?", "_", "=", "_").Replace(strings.Trim(page, "/")), width, scheme))
			}
		}
	}
}

// colours has the browser prefer light or dark.
func colours(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}
