package groupcommit

import (
	"context"
	"database/sql/driver"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// settings are what a program has set by db.Exec("PRAGMA …"), which is how most set SQLite up. On the plain driver such
// a setting is that of one connection, which is all that a program with one has. Here it holds for every physical connection
// from then on: those that there are get it when they are next used, new ones when they are opened.
type settings struct {
	version atomic.Int64 // how many have been made
	mu      sync.Mutex
	made    []madeSetting // the latest of each name, oldest first
}

type madeSetting struct {
	sqltext.Setting
	version int64
}

// add makes known what has been set on a physical connection, and has it hold for all. A setting that another connection
// has made meanwhile may have come before or after this one; here this one is the later.
func (s *settings) add(new []sqltext.Setting, p *physical) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.version.Load()
	v := before
	for _, n := range new {
		i := slices.IndexFunc(s.made, func(m madeSetting) bool { return m.Name == n.Name })
		if i < 0 && n.InFile {
			continue // nobody has been told anything else
		}
		if i >= 0 {
			s.made = slices.Delete(s.made, i, i+1)
		}
		v++
		s.made = append(s.made, madeSetting{n, v})
		p.db.refresh(p, n.Name)
	}
	s.version.Store(v)
	if p.settings == before { // or else it is to catch up with all of them, in their order
		p.settings = v
	}
}

// since returns the settings that are newer than a version.
func (s *settings) since(version int64) (texts []string, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.made {
		if m.version > version {
			texts = append(texts, m.Text)
		}
	}
	return texts, s.version.Load()
}

// catchUp makes the settings that a physical connection does not have yet.
func (p *physical) catchUp(ctx context.Context) {
	p.unset = nil
	if p.settings == p.db.shared.version.Load() || !p.session.Idle() { // some have no effect in a transaction
		return
	}
	texts, version := p.db.shared.since(p.settings)
	for _, text := range texts {
		if p.unset = setOn(ctx, p.raw, text); p.unset != nil {
			return // whoever borrows the connection is told: nothing runs without the settings
		}
	}
	p.settings = version
}

// setOn makes a setting. Many a PRAGMA answers with a row.
func setOn(ctx context.Context, c driver.Conn, text string) error {
	_, err := fallback.Exec(ctx, c, text, nil)
	return err
}

// refresh learns from a physical connection what a setting has changed of the database's traits.
func (d *database) refresh(p *physical, setting string) {
	r, ok := p.session.(engine.Refresher)
	if !ok {
		return
	}
	t := r.Refresh(*d.traits.Load(), setting)
	d.traits.Store(&t)
}
