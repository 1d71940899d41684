// Package sqlxbind tells jmoiron/sqlx which placeholders the groupcommit drivers use. sqlx knows drivers by name, and its
// named queries and Rebind need to know. A program that uses sqlx imports the package beside its driver:
//
//	import _ "github.com/groupcommit/groupcommit/sqlxbind"
//
// The package imports neither driver, and the packages of the drivers do not import sqlx.
package sqlxbind

import "github.com/jmoiron/sqlx"

func init() {
	sqlx.BindDriver("sqlite3-groupcommit", sqlx.QUESTION)
	sqlx.BindDriver("pgx-groupcommit", sqlx.DOLLAR)
	sqlx.BindDriver("pgx/v5-groupcommit", sqlx.DOLLAR)
}
