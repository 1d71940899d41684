// Package browsertest opens the page of package debug in a real browser, Chromium without a window. It is a module of its own, so that the
// library's does not need what drives the browser.
package browsertest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// browser starts Chromium for a test. Where it is not installed, the test is skipped, or fails with CI=true.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		const says = "the page needs a browser: install Chromium (Debian: apt-get install --no-install-recommends chromium)"
		if ci, _ := strconv.ParseBool(os.Getenv("CI")); ci {
			t.Fatal(says)
		}
		t.Skip(says)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.DisableGPU)
	if os.Geteuid() == 0 { // Chromium refuses root otherwise
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		assert.NoError(t, chromedp.Cancel(ctx)) // when it returns, the browser is gone
		cancel()
	})
	require.NoError(t, chromedp.Do(ctx))
	return ctx
}

// A tab is one of the browser's. When its test ends, it must have written nothing to its console, and have asked its own page's server only.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	messages []string
	asked    []string
}

func open(t *testing.T, browser context.Context) *tab {
	ctx, cancel := chromedp.NewContext(browser)
	b := &tab{T: t, ctx: ctx}
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Listen(ctx, b.hear))
	t.Cleanup(func() {
		if t.Failed() {
			b.picture()
		}
	})
	return b
}

// hear is called by the goroutine that reads from the browser.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *runtime.EventConsoleAPICalled:
		b.messages = append(b.messages, fmt.Sprint("console: ", e.Type))
	case *runtime.EventExceptionThrown:
		b.messages = append(b.messages, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		b.messages = append(b.messages, "log: "+e.Entry.Text)
	}
}

// quiet says that the page has had nothing to say, and that it has asked nobody but its own server.
func (b *tab) quiet(origin string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Empty(b, b.messages)
	assert.NotEmpty(b, b.asked)
	for _, a := range b.asked {
		u, err := url.Parse(a)
		require.NoError(b, err)
		assert.True(b, a == "data:," || u.Scheme+"://"+u.Host == origin, a)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, steps...))
}

// look sets the window's width, and light or dark.
func (b *tab) look(width int64, scheme string) {
	b.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(b, err)
	b.do(chromedp.EmulateViewport(width, 800))
}

// until waits for a JavaScript expression to become true.
func (b *tab) until(expression string) {
	b.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Poll[chromedp.Void](expression))
	require.NoError(b, err, expression)
}

func eval[T any](b *tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b, err, expression)
	return v
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

// picture writes what the tab shows to a file, in the folder that GROUPCOMMIT_TEST_SHOTS names or the system's for temporary files.
func (b *tab) picture() {
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.Log("no screenshot:", err)
		return
	}
	dir := os.Getenv("GROUPCOMMIT_TEST_SHOTS")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "groupcommit-shots")
	}
	file := filepath.Join(dir, strings.Trim(notInNames.ReplaceAllString(b.Name(), "-"), "-")+".png")
	if err = os.MkdirAll(dir, 0o755); err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	b.Log("screenshot:", file, err)
}
