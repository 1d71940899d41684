package debug_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/debug"
	_ "github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// open opens a database that a page shows under a name.
func open(t *testing.T, page *debug.Page, name string) *sql.DB {
	t.Helper()
	dsn := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_journal=WAL&_sync=OFF"
	db, err := groupcommit.Open("sqlite3", dsn, groupcommit.Promises(), page.Watch(name))
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	_, err = db.Exec("CREATE TABLE a (k INTEGER UNIQUE)")
	require.NoError(t, err)
	require.NoError(t, page.Add(name, db))
	return db
}

func get(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

type figure struct {
	Label, Value string
	Count        *int64
}

type block struct {
	ID, Title, Tag, Note string
	Figures              []figure
}

// answer is what the page's script gets.
type answer struct {
	Names         []string
	Name, Error   string
	Calls, Groups int64
	Sizes         struct {
		Count, Sum int64
		Buckets    [][2]int64
	}
	Blocks, Commands []block
	Tables           []struct {
		ID    string
		Empty string
		Rows  []struct {
			Key, Label, About string
			Cells             []string
			Count             int64
		}
	}
}

func poll(t *testing.T, h http.Handler, db string) (a answer) {
	t.Helper()
	w := get(h, "GET", "/any/path?format=json&db="+db)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	return a
}

// figures are all of a list of blocks, by "id/label".
func figures(blocks []block) map[string]string {
	all := make(map[string]string)
	for _, b := range blocks {
		for _, f := range b.Figures {
			all[b.ID+"/"+f.Label] = f.Value
		}
	}
	return all
}

// counts are those of a table's rows.
func (a *answer) counts(table string) map[string]int64 {
	counts := make(map[string]int64)
	for _, t := range a.Tables {
		if t.ID == table {
			for _, r := range t.Rows {
				counts[r.Label] = r.Count
			}
		}
	}
	return counts
}

func TestThePageHasTheNumbersOfStats(t *testing.T) {
	page := debug.New()
	db := open(t, page, "app")
	type entry struct{ K int }
	cs, err := groupcommit.Handle(db, groupcommit.Each(func(_ context.Context, _ *sql.Tx, e entry) (int, error) { return e.K, nil }),
		groupcommit.Kind("entries"), groupcommit.Durable())
	require.NoError(t, err)
	for range 2 { // the second is a replay
		_, err = cs.Do(t.Context(), "one", entry{1})
		require.NoError(t, err)
	}
	const insert = "INSERT INTO a VALUES (?)"
	var all sync.WaitGroup
	for k := range 100 {
		all.Go(func() { db.Exec(insert, k%50) })
	}
	all.Wait()
	for range 2 {
		_, err = db.ExecContext(groupcommit.WithID(t.Context(), "an id"), "DELETE FROM a WHERE k = 7")
		require.NoError(t, err)
	}
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM a").Scan(&n))

	a := poll(t, page, "app")
	s, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	assert.Equal(t, []string{"app"}, a.Names)
	assert.Equal(t, "app", a.Name)
	assert.Empty(t, a.Error)
	assert.GreaterOrEqual(t, a.Calls, int64(101))
	assert.LessOrEqual(t, a.Groups, s.Groups)
	assert.Equal(t, a.Groups, a.Sizes.Count)
	var groups int64
	for _, b := range a.Sizes.Buckets {
		groups += b[1]
	}
	assert.Equal(t, a.Groups, groups)
	f := figures(a.Blocks)
	assert.Equal(t, "50", f["ends/errors"])
	assert.Equal(t, "0", f["ends/unknown outcomes"])
	assert.Equal(t, "1", f["ends/replays"])
	assert.Equal(t, "32", f["pool/at most"])
	assert.Contains(t, f, "learned/a group pays once")
	assert.Equal(t, map[string]int64{"constraint": 50}, a.counts("errors"))
	assert.EqualValues(t, 1, a.counts("apart")["other"])
	assert.EqualValues(t, 1, a.counts("apart")["reads"])
	assert.NotZero(t, a.counts("closed")["drained"])
	assert.EqualValues(t, 100, a.counts("texts")[insert])
	require.Len(t, a.Commands, 1)
	assert.Equal(t, "entries", a.Commands[0].Title)
	assert.Equal(t, "durable", a.Commands[0].Tag)
	c := figures(a.Commands)
	assert.Equal(t, "1", c["command-entries/replays"])
	assert.Contains(t, c, "command-entries/further attempts")

	// The page without JavaScript has the same.
	w := get(page, "GET", "/")
	require.Equal(t, http.StatusOK, w.Code)
	assert.Contains(t, w.Body.String(), "<dt>errors</dt><dd>50</dd>")
	assert.Contains(t, w.Body.String(), "<span>"+insert+"</span>")
	assert.Contains(t, w.Body.String(), "a constraint has refused it")
	assert.Contains(t, w.Body.String(), "<span>entries</span><small>durable</small>")
}

func TestATextIsShownAsTextAndNoArgumentIsShown(t *testing.T) {
	page := debug.New()
	db := open(t, page, `<b id="x">&`)
	const bad = `INSERT INTO a SELECT 1 WHERE '</script><img src=x onerror=alert(1)>' = ?`
	_, err := db.Exec(bad, "a secret")
	require.NoError(t, err)
	w := get(page, "GET", "/")
	body := w.Body.String()
	assert.NotContains(t, body, "<img")
	assert.NotContains(t, body, `<b id="x">`)
	assert.Equal(t, 1, strings.Count(body, "</script>"))
	assert.Contains(t, html.UnescapeString(body), bad)
	polled := get(page, "GET", "/?format=json").Body.String()
	assert.NotContains(t, polled, "<img")
	a := poll(t, page, "")
	assert.EqualValues(t, 1, a.counts("texts")[bad])
	assert.NotContains(t, body+polled, "a secret")
}

func TestThePageWorksUnderAnyPath(t *testing.T) {
	page := debug.New()
	open(t, page, "app")
	mux := http.NewServeMux()
	mux.Handle("/debug/groupcommit/", page)
	mux.Handle("/exact", page)
	mux.Handle("/stripped/", http.StripPrefix("/stripped", page))
	for _, path := range []string{"/debug/groupcommit/", "/exact", "/stripped/", "/stripped/a"} {
		w := get(mux, "GET", path)
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Contains(t, w.Body.String(), "<title>app · groupcommit</title>")
		for _, address := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(w.Body.String(), -1) {
			assert.Regexp(t, `^(\?|data:,$)`, address[1], "it is relative to the page's own")
		}
		a := get(mux, "GET", path+"?format=json")
		assert.Equal(t, "application/json", a.Header().Get("Content-Type"))
	}
}

func TestThePageIsReadOnlyAndFetchesNothingFromElsewhere(t *testing.T) {
	page := debug.New()
	open(t, page, "app")
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		w := get(page, method, "/")
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
		assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
	}
	for _, target := range []string{"/", "/?format=json"} {
		w := get(page, "HEAD", target)
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Empty(t, w.Body.String())
		assert.NotEqual(t, "0", w.Header().Get("Content-Length"))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	}
	w := get(page, "GET", "/")
	policy := w.Header().Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.NotContains(t, policy, "unsafe")
	assert.NotContains(t, policy, "http")
	for _, tag := range []string{"script", "style"} {
		inside := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(w.Body.String(), -1)
		require.Len(t, inside, 1)
		digest := sha256.Sum256([]byte(inside[0][1]))
		assert.Contains(t, policy, tag+"-src 'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"'", "it is what the policy allows")
	}
	markup, script, _ := strings.Cut(w.Body.String(), "<script>")
	assert.False(t, regexp.MustCompile(`\son[a-z]+=|\sstyle=|https?://`).MatchString(markup))
	assert.False(t, strings.Contains(strings.ReplaceAll(script, "http://www.w3.org/2000/svg", ""), "http"), "that is a name, and no address")
}

func TestAClosedDatabaseKeepsItsNumbers(t *testing.T) {
	page := debug.New()
	db := open(t, page, "app")
	_, err := db.Exec("INSERT INTO a VALUES (1)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	a := poll(t, page, "app")
	assert.Empty(t, a.Error)
	assert.NotZero(t, a.Calls)
	assert.EqualValues(t, 1, a.counts("texts")["INSERT INTO a VALUES (1)"])
}

func TestSeveralDatabasesHaveAPageEach(t *testing.T) {
	page := debug.New()
	w := get(page, "GET", "/")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Contains(t, w.Body.String(), "There is no database yet")
	one, two := open(t, page, "one"), open(t, page, "two & more")
	_, err := one.Exec("INSERT INTO a VALUES (1)")
	require.NoError(t, err)
	_, err = two.Exec("INSERT INTO a VALUES (2)")
	require.NoError(t, err)
	assert.Equal(t, "one", poll(t, page, "").Name, "the first one")
	a := poll(t, page, "two%20%26%20more")
	assert.Equal(t, []string{"one", "two & more"}, a.Names)
	assert.Equal(t, "two & more", a.Name)
	assert.EqualValues(t, 1, a.counts("texts")["INSERT INTO a VALUES (2)"])
	assert.NotContains(t, a.counts("texts"), "INSERT INTO a VALUES (1)")
	body := get(page, "GET", "/").Body.String()
	assert.Contains(t, body, `<a href="?db=two%20%26%20more">two &amp; more</a>`)
	assert.Contains(t, body, `<a href="?db=one" aria-current="page">one</a>`)

	w = get(page, "GET", "/?db=three")
	assert.Equal(t, http.StatusNotFound, w.Code)
	assert.Contains(t, w.Body.String(), "There is no database of this name.")
	assert.Equal(t, "There is no database of this name.", poll(t, page, "three").Error)
}

func TestADatabaseThatCannotBeShownIsOneError(t *testing.T) {
	page := debug.New()
	plain, err := sql.Open("sqlite3", ":memory:")
	require.NoError(t, err)
	defer plain.Close()
	require.ErrorContains(t, page.Add("plain", plain), "not groupcommit's")
	require.ErrorContains(t, page.Add("nil", nil), "nil")
	db := open(t, page, "app")
	require.ErrorContains(t, page.Add("app", db), `the name "app" is taken`)
	require.ErrorContains(t, page.Add("", db), "empty")
	assert.Equal(t, []string{"app"}, poll(t, page, "").Names)
}

func TestADatabaseThatIsNotWatchedSaysHowItsTextsAreSeen(t *testing.T) {
	page := debug.New()
	db, err := groupcommit.Open("sqlite3", ":memory:")
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, page.Add("app", db))
	for _, table := range poll(t, page, "app").Tables {
		assert.Empty(t, table.Rows)
		assert.NotEmpty(t, table.Empty)
		if table.ID == "texts" {
			assert.Contains(t, table.Empty, "Page.Watch")
		}
	}
}

func TestManyMayLookWhileManyWrite(t *testing.T) {
	page := debug.New()
	db := open(t, page, "app")
	var all sync.WaitGroup
	for k := range 20 {
		all.Go(func() {
			for i := range 20 {
				db.Exec("INSERT INTO a VALUES (?)", 20*k+i)
			}
		})
	}
	for range 4 {
		all.Go(func() {
			for range 10 {
				get(page, "GET", "/")
				get(page, "GET", "/?format=json")
			}
		})
	}
	all.Wait()
	a := poll(t, page, "app")
	assert.EqualValues(t, 400, a.counts("texts")["INSERT INTO a VALUES (?)"])
}
