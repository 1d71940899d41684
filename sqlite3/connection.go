//go:build cgo

package sqlite3

import (
	"context"
	"database/sql/driver"
	"io"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// connection is one connection of the driver as SQLite sees it, without the program's wrappers.
type connection struct {
	lite   *sqlite3.SQLiteConn
	own    ownStatements
	guests knowledge // of functions that are the program's own
	fresh  bool      // the connection knows the schema for certain
	files  []string  // the databases that were there when the connection was opened
}

// ownStatements are kept for the work of each group beside its calls. They are made on the driver's own connection, so that
// no wrapper sees them.
type ownStatements struct {
	begin      *sqlite3.SQLiteStmt
	commit     *sqlite3.SQLiteStmt
	savepoint  *sqlite3.SQLiteStmt
	release    *sqlite3.SQLiteStmt
	rollbackTo *sqlite3.SQLiteStmt
	schema     *sqlite3.SQLiteStmt
	journals   []*sqlite3.SQLiteStmt // of each database
	row        [1]driver.Value       // for their answers
}

// The texts of the kept statements.
const (
	beginText      = "BEGIN IMMEDIATE"
	commitText     = "COMMIT"
	savepointText  = "SAVEPOINT groupcommit_call"
	releaseText    = "RELEASE groupcommit_call"
	rollbackToText = "ROLLBACK TO groupcommit_call"
	// schemaText has SQLite read the schema again if it is not the one that the connection knows. BEGIN IMMEDIATE does not.
	schemaText = "SELECT 1 FROM sqlite_schema LIMIT 0"
)

func (o *ownStatements) close() {
	for _, st := range append(o.journals, o.begin, o.commit, o.savepoint, o.release, o.rollbackTo, o.schema) {
		if st != nil {
			st.Close()
		}
	}
	*o = ownStatements{}
}

// do executes one of the own statements.
func (c *connection) do(st **sqlite3.SQLiteStmt, text string) error {
	made, err := c.prepareOwn(st, text)
	if err == nil {
		_, err = made.Exec(nil)
	}
	return err
}

func (c *connection) begin() error  { return c.do(&c.own.begin, beginText) }
func (c *connection) commit() error { return c.do(&c.own.commit, commitText) }

// rollback ends the transaction. Its statement is not kept: abandon may need it when all kept ones are closed.
func (c *connection) rollback() error { return c.control("ROLLBACK") }

// control runs a statement of transaction control.
func (c *connection) control(query string) error {
	_, err := c.lite.ExecContext(background, query, nil)
	return err
}

// prepareOwn makes one of the own statements, if it is not there yet.
func (c *connection) prepareOwn(st **sqlite3.SQLiteStmt, query string) (*sqlite3.SQLiteStmt, error) {
	if *st == nil {
		made, err := c.lite.Prepare(query)
		if err != nil {
			return nil, err
		}
		*st = made.(*sqlite3.SQLiteStmt)
	}
	return *st, nil
}

// firstColumn returns the first column of each row, as text.
func firstColumn(rows driver.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	var values []string
	for {
		switch err := rows.Next(row); {
		case err == io.EOF || len(row) == 0:
			return values, nil
		case err != nil:
			return nil, err
		}
		values = append(values, text(row[0]))
	}
}

func text(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

// databases returns the names of the databases that are open or attached; "temp" is one of them if it is used.
func (c *connection) databases() ([]string, error) {
	return firstColumn(c.lite.Query("SELECT name FROM pragma_database_list", nil))
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// refresh has SQLite read each database's schema that has been changed elsewhere, and reports that it could.
//
// SQLite checks that it knows the latest schema when it executes a statement. When it prepares a statement, it does so for
// few errors only ("no such table"); the other errors are of the schema that it knows.
func (c *connection) refresh() bool {
	names, err := c.databases()
	if err != nil {
		return false
	}
	for _, name := range names {
		if c.control("SELECT 1 FROM "+quoted(name)+".sqlite_schema LIMIT 0") != nil {
			return false
		}
	}
	return true
}

// mayBeOutdated reports an error that may be of an old schema.
func (c *connection) mayBeOutdated(err error) bool {
	code := codeOf(err)
	return !c.fresh && (code == sqlite3.ErrError || code == sqlite3.ErrSchema)
}

// number returns the answer of a query that gives one number, such as a setting. It returns 0 if SQLite does not know the
// setting.
func number(c *sqlite3.SQLiteConn, query string) (int64, error) {
	rows, err := c.Query(query, nil)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	if len(row) == 0 {
		return 0, nil
	}
	if err := rows.Next(row); err != nil && err != io.EOF {
		return 0, err
	}
	n, _ := row[0].(int64)
	return n, nil
}

var background = context.Background()
