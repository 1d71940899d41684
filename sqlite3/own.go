package sqlite3

import (
	"database/sql/driver"
	"io"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// ownStatements are kept for what each group needs beside its calls. They are the session's own, so that no wrapper is shown
// them.
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

// The texts of what is kept.
const (
	beginText      = "BEGIN IMMEDIATE"
	commitText     = "COMMIT"
	savepointText  = "SAVEPOINT groupcommit_call"
	releaseText    = "RELEASE groupcommit_call"
	rollbackToText = "ROLLBACK TO groupcommit_call"
	// schemaText has SQLite read the schema again if it is another than the connection knows. BEGIN IMMEDIATE does not.
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

// do executes one of the session's own statements.
func (s *session) do(st **sqlite3.SQLiteStmt, text string) error {
	made, err := s.statement(st, text)
	if err == nil {
		_, err = made.Exec(nil)
	}
	return err
}

func (s *session) begin() error  { return s.do(&s.own.begin, beginText) }
func (s *session) commit() error { return s.do(&s.own.commit, commitText) }

// rollback ends the transaction. It is not kept: it may be what abandon needs.
func (s *session) rollback() error { return s.control("ROLLBACK") }

// control runs a statement of transaction control.
func (s *session) control(query string) error {
	_, err := s.lite.ExecContext(background, query, nil)
	return err
}

// statement makes one of the session's statements.
func (s *session) statement(st **sqlite3.SQLiteStmt, query string) (*sqlite3.SQLiteStmt, error) {
	if *st == nil {
		made, err := s.lite.Prepare(query)
		if err != nil {
			return nil, err
		}
		*st = made.(*sqlite3.SQLiteStmt)
	}
	return *st, nil
}

// first returns the first column of each row, as text.
func first(rows driver.Rows, err error) ([]string, error) {
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

// databases are the names of what the connection has opened and attached; "temp" is one of them if it is used.
func (s *session) databases() ([]string, error) {
	return first(s.lite.Query("SELECT name FROM pragma_database_list", nil))
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// refresh has SQLite read each database's schema that has been changed elsewhere, and reports that it could.
//
// SQLite looks whether it knows the latest schema when a statement is executed. When one is prepared it does so for few
// errors only ("no such table"); others are of the schema that it knows.
func (s *session) refresh() bool {
	names, err := s.databases()
	if err != nil {
		return false
	}
	for _, name := range names {
		if s.control("SELECT 1 FROM "+quoted(name)+".sqlite_schema LIMIT 0") != nil {
			return false
		}
	}
	return true
}

// mayBeOutdated reports an error that may be of a schema that is no longer.
func (s *session) mayBeOutdated(err error) bool {
	code := codeOf(err)
	return !s.fresh && (code == sqlite3.ErrError || code == sqlite3.ErrSchema)
}
