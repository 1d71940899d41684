package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"
)

// reached finds out before a long run that the server of --dsn is not there.
func reached(dsn string) error {
	if dsn == "" {
		return nil
	}
	db, err := openPgxPool(dsn, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("the server of --dsn is not reached: %s", oneLine(err))
	}
	return nil
}

// full says whether there was no room on a disk: that of the database, or of a file that was asked for.
func full(err error) bool {
	var onSQLite sqlite3.Error
	var onServer *pgconn.PgError
	return errors.Is(err, syscall.ENOSPC) ||
		errors.As(err, &onSQLite) && onSQLite.Code == sqlite3.ErrFull ||
		errors.As(err, &onServer) && onServer.Code == "53100"
}

// oneLine is the text of an error that may be several, or of several lines.
func oneLine(err error) string {
	var words []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(words, line) {
			words = append(words, line)
		}
	}
	return strings.ReplaceAll(strings.Join(words, "; "), ":; ", ": ")
}
