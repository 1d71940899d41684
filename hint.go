package groupcommit

import (
	"database/sql"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/internal/applog"
)

// hint tells once, in the log, that a program's writes come one at a time because its pool has one connection: nothing else shows
// that. A single goroutine that writes looks the same from here, and is as it should be. So the line is for those who ask for
// more (slog.LevelDebug), unless it is known that callers have waited for the one connection.
type hint struct {
	lone atomic.Int32 // groups of one
	told atomic.Bool
}

const (
	hintAfter = 1000 // groups of one
	hintShare = 20   // of so many groups no more than one had several calls
)

// countLone counts a group of one.
func (g *groups) countLone() {
	if g.hint.lone.Add(1)%hintAfter != 0 || g.hint.told.Load() {
		return
	}
	db := g.Pool.Program()
	var pool sql.DBStats
	if db != nil {
		pool = db.Stats()
	}
	if db != nil && pool.MaxOpenConnections != 1 || db == nil && g.Pool.MostSeats() > 1 {
		return
	}
	// The queue is asked last: that copies its histograms, under its lock. Other calls may have been a partition's.
	s := g.all.queue.Stats()
	if s.Alone < hintAfter/2 || (s.Groups-s.Alone)*hintShare > s.Groups {
		return
	}
	level, why := slog.LevelDebug, "the program's pool has had one connection at a time: SetMaxOpenConns(1), or one goroutine writes"
	if db != nil {
		if why = "SetMaxOpenConns(1)"; pool.WaitCount*2 > s.Groups {
			level = slog.LevelInfo
		}
	}
	if g.hint.told.CompareAndSwap(false, true) {
		applog.Write(level, fmt.Sprintf("groupcommit: %d of %d writes came alone", s.Alone, s.Members), "because", why)
	}
}
