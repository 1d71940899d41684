package physical

import (
	"slices"
	"sync"
	"sync/atomic"

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

// add has settings hold that have been made on one connection, and calls made with the name of each. A setting that another
// connection has made meanwhile may have come before or after this one; here this one is the later. add returns the versions.
func (s *settings) add(new []sqltext.Setting, made func(name string)) (before, after int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.version.Load()
	after = before
	for _, n := range new {
		i := slices.IndexFunc(s.made, func(m madeSetting) bool { return m.Name == n.Name })
		if i < 0 && n.InFile {
			continue // no connection has another value
		}
		if i >= 0 {
			s.made = slices.Delete(s.made, i, i+1)
		}
		after++
		s.made = append(s.made, madeSetting{n, after})
		made(n.Name)
	}
	s.version.Store(after)
	return before, after
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
