package main

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

var postgresFailures = []*failure{
	{"UNIQUE", "CREATE TABLE T_f (u BIGINT UNIQUE, n BIGINT); INSERT INTO T_f VALUES (1, 1)", "INSERT INTO T_f VALUES (1, $1)", isState("23505")},
	{"CHECK", "CREATE TABLE T_f (u BIGINT CHECK (u < 5), n BIGINT)", "INSERT INTO T_f VALUES (7, $1)", isState("23514")},
	{"a function that raises", "CREATE TABLE T_f (n BIGINT); CREATE FUNCTION T_raise(n BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', n; END $$",
		"INSERT INTO T_f VALUES (T_raise($1))", isState("P0001")},
	{"division by zero", "CREATE TABLE T_f (n BIGINT)", "INSERT INTO T_f VALUES (1 / ($1::BIGINT * 0))", isState("22012")},
}

func isState(code string) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*pgconn.PgError](err)
		return ok && e.Code == code
	}
}

func (c *cluster) failures() []*failure { return postgresFailures }

func (c *cluster) failing(int) (theirs, ours run) {
	return run{side: pgxPlain(min(64, c.room)), users: unbounded}, run{side: pgxGrouped, users: unbounded}
}
