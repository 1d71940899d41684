// Package applog writes the library's lines into the program's log.
package applog

import (
	"context"
	"log/slog"
	"sync"
)

var (
	mu      sync.Mutex
	over    = sync.NewCond(&mu)
	writing int // lines
)

// Write has a line written by the default logger of log/slog, in a goroutine of its own: a handler may use the very database,
// and so wait for the connection, the turn or the lock that the goroutine holds which has something to say. A handler that panics
// loses the line, since no caller is there to recover.
func Write(level slog.Level, line string, attrs ...any) {
	logger := slog.Default()
	count(1)
	go func() {
		defer count(-1)
		defer func() { recover() }()
		logger.Log(context.Background(), level, line, attrs...)
	}()
}

func count(n int) {
	mu.Lock()
	defer mu.Unlock()
	if writing += n; writing == 0 {
		over.Broadcast()
	}
}

// Wait returns when every line has been written, for tests.
func Wait() {
	mu.Lock()
	defer mu.Unlock()
	for writing > 0 {
		over.Wait()
	}
}
