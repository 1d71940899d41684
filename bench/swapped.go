package main

import (
	"database/sql"
	"strconv"
	"strings"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	gcpgx "github.com/groupcommit/groupcommit/pgx"
)

// bound is the option that bounds the physical connections.
const bound = "groupcommit_physical"

// openSwapped opens a driver of groupcommit's as a program with many callers does: a cheap connection for each, and below
// them as many physical connections as the plain driver's pool may have. with adds an option to the DSN.
func openSwapped(name, dsn string, with func(option, value string) string, callers, pool int) (*sql.DB, error) {
	db, err := sql.Open(name, with(bound, strconv.Itoa(pool)))
	if err != nil && strings.Contains(err.Error(), "unknown option") { // a version without this option has bounds of its own
		db, err = sql.Open(name, dsn)
	}
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(0)
	db.SetMaxIdleConns(callers)
	return db, nil
}

// openPgxSwapped is openSwapped for PostgreSQL.
func openPgxSwapped(dsn string, callers, pool int) (*sql.DB, error) {
	with := func(option, value string) string { return pgtest.With(dsn, pgtest.Param(option, value)) }
	return openSwapped(gcpgx.DriverName, dsn, with, callers, pool)
}

// knowsBound says whether the library has the option.
func knowsBound(dsn string) bool {
	db, err := sql.Open(gcpgx.DriverName, pgtest.With(dsn, pgtest.Param(bound, "16")))
	if err != nil {
		return false
	}
	db.Close()
	return true
}
