// Package debug shows what groupcommit does, live, on a page for a browser:
//
//	page := debug.New()
//	db, err := groupcommit.Open("sqlite3", "app.db", page.Watch("app"))
//	…
//	err = page.Add("app", db)
//	http.Handle("/debug/groupcommit/", page)
//
// The page has the rate of calls and groups, the sizes of groups, waits and latencies, why calls joined no group, why groups were
// closed, the slowest texts, errors by class, commands by kind and the physical connections. It needs no network but its own address.
//
// # Who may see it
//
// Whoever reaches the page sees the texts of statements. It has no arguments of theirs, but a program that writes values into its texts
// shows them. Nothing on it can be changed, and it asks no question of the database. Mount it behind the program's own
// authentication, or on an address that only operators reach.
package debug

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit"
)

// A Page is the page, an [net/http.Handler] at any path. All its methods may be called by any goroutine at any time.
type Page struct {
	started time.Time

	mu    sync.Mutex
	texts map[string]*texts // by the name given to Watch
	shown []*database       // in the order of Add
}

// A database is one that the page shows. It is not changed.
type database struct {
	name  string
	db    *sql.DB
	since time.Time
	calls int64 // that were counted before since
	group int64
}

// New returns a page that shows no database yet.
func New() *Page { return &Page{started: time.Now(), texts: make(map[string]*texts)} }

// Watch returns an option for the database that Add then gets under the same name: the page shows its slowest texts. Without it, the page
// shows all but those. It does not take the place of the program's own [groupcommit.OnGroup].
//
// The texts are those of calls in groups, groups of one among them; what joined no group is counted by its reason only, and a query with
// RETURNING that had its group to itself is not counted at all. At most 400 texts are remembered, and at most 500 bytes of each. Where there
// are more, the ones that have taken the most time together stay, and those that had the slowest calls; the others are one line. A group
// pays some tens of nanoseconds for each of its calls.
func (p *Page) Watch(name string) groupcommit.Option {
	return groupcommit.OnGroup(p.textsOf(name).observe)
}

func (p *Page) textsOf(name string) *texts {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.texts[name]
	if t == nil {
		t = newTexts()
		p.texts[name] = t
	}
	return t
}

// Add has the page show a database. It is an error if the name is taken or empty, or if [groupcommit.StatsOf] fails: if db is not
// groupcommit's, say. The page keeps db in memory, and shows the numbers of a closed one as they were at its end.
func (p *Page) Add(name string, db *sql.DB) error {
	if name == "" {
		return errors.New("groupcommit/debug: the name of a database is empty")
	}
	s, err := groupcommit.StatsOf(db)
	if err != nil {
		return fmt.Errorf("groupcommit/debug: %q: %w", name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.shown, func(d *database) bool { return d.name == name }) {
		return fmt.Errorf("groupcommit/debug: the name %q is taken; each database needs one of its own", name)
	}
	p.shown = append(p.shown, &database{name: name, db: db, since: time.Now(), calls: s.Calls, group: s.Groups})
	return nil
}

// find returns a database by its name, "" being the first, with its texts and the names of all. The database is nil if there is none, and the
// texts are nil if Watch was not called.
func (p *Page) find(name string) (d *database, t *texts, names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.shown {
		names = append(names, o.name)
		if o.name == name || name == "" && i == 0 {
			d, t = o, p.texts[o.name]
		}
	}
	return d, t, names
}
