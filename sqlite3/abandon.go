package sqlite3

import "slices"

// abandon closes the connection after a panic, or runtime.Goexit, in a statement.
//
// What leaves sqlite3_step that way leaves the connection's mutex locked by its thread: on another one the next who
// touches the connection waits for ever, and with it everybody who waits for its lock on the file. So all of it is done
// here, before the goroutine may change threads: nothing of the statement may be committed (its end would commit, if it
// is a transaction of its own), and no statement may be left (or else the connection is not closed, and keeps its lock).
// Close does nothing after that.
func (s *session) abandon() {
	defer func() { recover() }() // from a hook of the program's
	defer s.lite.Close()
	if s.lite.AutoCommit() {
		s.control("BEGIN")
	}
	s.Close()
	s.rollback()
}

// knowledge is whether something is so.
type knowledge uint8

const (
	unknown knowledge = iota
	yes
	no
)

// builtin are the functions that the driver's SQLite calls those of an application, though they are not the program's.
var builtin = []string{
	"auth_enabled", "auth_user_add", "auth_user_change", "auth_user_delete", "authenticate",
	"fts3_tokenizer", "match", "matchinfo", "offsets", "optimize", "rtreecheck", "rtreedepth", "rtreenode", "snippet",
}

// hasGuests reports that statements may call functions or collations of the program's. It is asked once: what a program
// registers on a connection it registers when that is opened.
func (s *session) hasGuests() bool {
	if s.guests == unknown {
		s.guests = no
		functions, err1 := first(s.lite.Query("SELECT name FROM pragma_function_list WHERE NOT builtin", nil))
		collations, err2 := first(s.lite.Query("SELECT name FROM pragma_collation_list WHERE name NOT IN ('BINARY', 'NOCASE', 'RTRIM')", nil))
		own := slices.DeleteFunc(functions, func(name string) bool { return slices.Contains(builtin, name) })
		if err1 != nil || err2 != nil || len(own)+len(collations) > 0 {
			s.guests = yes
		}
	}
	return s.guests == yes
}
