package browsertest

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/debug"
	_ "github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	insert  = "INSERT INTO a (k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
	hostile = `INSERT INTO b SELECT '</script><img src=x onerror="document.title=1"><b>' WHERE ? = 0`
	secret  = "an argument that nobody shall see"
)

var tables = []string{"closed", "apart", "errors", "texts"}

// serve shows a database on which a small load runs until the test ends, under a path. It returns the page's address and its origin.
func serve(t *testing.T) (address, origin string) {
	page := debug.New()
	dsn := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_journal=WAL&_synchronous=NORMAL"
	db, err := groupcommit.Open("sqlite3", dsn, groupcommit.Promises(), page.Watch("app"))
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	for _, text := range []string{"CREATE TABLE a (k INTEGER PRIMARY KEY, v)", "CREATE TABLE b (v UNIQUE)", "INSERT INTO b VALUES (1)"} {
		_, err = db.Exec(text)
		require.NoError(t, err)
	}
	require.NoError(t, page.Add("app", db))
	load(t, db)
	mux := http.NewServeMux()
	mux.Handle("/some/where/", page)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/some/where/", server.URL
}

// load writes and reads, gently. Now and then a call fails, and a command needs another attempt.
func load(t *testing.T, db *sql.DB) {
	type mail struct{ N int }
	mails, err := groupcommit.Handle(db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, m mail) (n int, err error) {
		_, err = tx.ExecContext(ctx, insert, m.N, "mail")
		return m.N, err
	}), groupcommit.Kind("mail"), groupcommit.Durable())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	t.Cleanup(cancel)
	for caller := range 6 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				var n int
				_, err1 := db.ExecContext(ctx, insert, 1000*caller+i%1000, secret)
				_, err2 := db.ExecContext(ctx, hostile, secret)
				_, err3 := db.ExecContext(ctx, "INSERT INTO b VALUES (1)")
				err4 := db.QueryRowContext(ctx, "SELECT count(*) FROM b").Scan(&n)
				if err := errors.Join(err1, err2, err4); err3 == nil || err != nil && ctx.Err() == nil {
					t.Error(err, err3)
					return
				}
				if i%10 == 0 {
					if _, err := mails.Do(ctx, fmt.Sprint(caller, "-", i), mail{i}); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond): // the load is a gentle one
				}
			}
		})
	}
}

// live is true once the page has shown what the last seconds were like, and each plot has a line.
const live = `document.documentElement.classList.contains('live') && document.querySelector('#status').textContent.startsWith('live')
	&& [...document.querySelectorAll('.card path')].filter(p => p.getAttribute('d').includes('L')).length === 8`

func TestThePageInABrowser(t *testing.T) {
	browser := browser(t)
	address, origin := serve(t)

	t.Run("shows a load as it runs", func(t *testing.T) {
		b := open(t, browser)
		b.look(1280, "light")
		b.do(chromedp.Navigate(address))
		b.until(live)
		assert.Equal(t, "app · groupcommit", eval[string](b, `document.title`))
		assert.Equal(t, "app", eval[string](b, `document.querySelector('nav [aria-current]').textContent`))
		for _, figures := range eval[[]string](b, `[...document.querySelectorAll('.card dd')].map(e => e.textContent)`) {
			assert.Regexp(t, `^[1-9<]|^0\.`, figures)
		}
		for id, want := range map[string]string{"latencies": `^[\d,.]+\x{a0}(µs|ms|s)$`, "rate": `^[\d,.]+$`} {
			for _, value := range eval[[]string](b, fmt.Sprintf(`[...document.querySelectorAll('#%s dd')].map(e => e.textContent)`, id)) {
				assert.Regexp(t, want, value)
			}
		}
		rows := make(map[string]string)
		for _, table := range tables {
			rows[table] = strings.Join(eval[[]string](b, fmt.Sprintf(`[...document.querySelectorAll('#%s tbody tr')].map(e => e.innerText)`, table)), "\n")
		}
		assert.Contains(t, rows["closed"], "drained")
		assert.Contains(t, rows["apart"], "it only reads")
		assert.Contains(t, rows["errors"], "a constraint has refused it")
		assert.Contains(t, rows["texts"], insert)
		for table, text := range rows {
			assert.Regexp(t, `\d/s`, text, table)
		}
		kinds := eval[string](b, `document.querySelector('#commands').innerText`)
		assert.Contains(t, kinds, "mail")
		assert.Contains(t, kinds, "durable")
		assert.Contains(t, kinds, "further attempts")
		blocks := eval[string](b, `document.querySelector('#blocks').innerText`)
		for _, label := range []string{"a group pays once", "each call adds", "groups side by side", "unknown outcomes", "replays", "re-runs", "at most"} {
			assert.Contains(t, blocks, label)
		}
		// It goes on by itself, until it is told to pause.
		calls := fmt.Sprintf(`[...document.querySelectorAll('#texts tbody tr')].find(r => r.innerText.includes(%q)).children[1].textContent`, insert)
		b.until(fmt.Sprintf("%s !== %q", calls, eval[string](b, calls)))
		b.do(chromedp.Click(chromedp.ID("pause")))
		assert.Equal(t, "paused", eval[string](b, `document.querySelector('#status').textContent`))
		assert.Equal(t, "Resume", eval[string](b, `document.querySelector('#pause').textContent`))
		b.do(chromedp.Click(chromedp.ID("pause")))
		b.until(fmt.Sprintf("%s !== %q", calls, eval[string](b, calls)))
		b.quiet(origin)
	})

	t.Run("can be read on a phone and on a desk, in light and dark, whatever the texts are", func(t *testing.T) {
		b := open(t, browser)
		b.look(1280, "light")
		b.do(chromedp.Navigate(address))
		b.until(live)
		colours := make(map[string]bool)
		for _, width := range []int64{390, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				b.look(width, scheme)
				checkLayout(b, fmt.Sprint(width, " ", scheme))
				colours[eval[string](b, `getComputedStyle(document.body).backgroundColor`)] = true
			}
		}
		assert.Len(t, colours, 2, "light and dark differ")

		// Among the texts is a hostile one. It is text, and there is no argument anywhere.
		b.until(fmt.Sprintf(`[...document.querySelectorAll('#texts tbody th span')].some(e => e.textContent === %q)`, hostile))
		assert.Zero(t, eval[int](b, `document.querySelectorAll('img, main b, iframe, object').length`))
		assert.Equal(t, "app · groupcommit", eval[string](b, `document.title`))
		assert.NotContains(t, eval[string](b, `document.documentElement.outerHTML`), secret)

		// After a month the numbers are long.
		b.do(chromedp.Click(chromedp.ID("pause")))
		for _, width := range []int64{390, 1280} {
			b.look(width, "light")
			eval[chromedp.Void](b, `document.querySelectorAll('.block dd:not(.now), td:not(.now)').forEach(e => { if (!e.textContent.includes('%')) e.textContent = '123,456,789'; })`)
			eval[chromedp.Void](b, `document.querySelectorAll('.block.rated dd.now, td.now').forEach(e => e.textContent = '123,456/s')`)
			eval[chromedp.Void](b, `document.querySelectorAll('.card dd').forEach(e => e.textContent = '99.9\u00a0min')`)
			checkLayout(b, fmt.Sprint(width, " after a month"))
		}
		b.quiet(origin)
	})

	t.Run("is a snapshot without JavaScript", func(t *testing.T) {
		b := open(t, browser)
		_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		require.NoError(t, err)
		b.look(390, "dark")
		b.do(chromedp.Navigate(address))
		checkLayout(b, "snapshot")
		text := eval[string](b, `document.body.innerText`)
		assert.Contains(t, text, "snapshot of ")
		assert.Contains(t, text, "since the beginning")
		assert.Contains(t, text, insert)
		assert.NotContains(t, text, "Pause")
		b.quiet(origin)
	})
}

// measure.js says what a reader would stumble over.
//
//go:embed measure.js
var measure string

func checkLayout(b *tab, name string) {
	b.Helper()
	type layout struct {
		Seen                          int
		Outside, Overlapping, LowTone []string
		Uneven                        []string
		Width, Scroll                 float64
	}
	l := eval[layout](b, measure)
	assert.Greater(b, l.Seen, 60, name)
	assert.LessOrEqual(b, l.Scroll, l.Width, "%s: it is wider than the window", name)
	assert.Empty(b, l.Outside, name)
	assert.Empty(b, l.Overlapping, name)
	assert.Empty(b, l.LowTone, name)
	assert.Empty(b, l.Uneven, name)
	if b.Failed() {
		b.FailNow() // the picture is of this layout
	}
}
