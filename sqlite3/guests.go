//go:build cgo

package sqlite3

import "slices"

// knowledge is an answer to a question, if it has been asked.
type knowledge uint8

const (
	unknown knowledge = iota
	yes
	no
)

// builtin are functions that the driver's SQLite lists as an application's, though they are not the program's.
var builtin = []string{
	"auth_enabled", "auth_user_add", "auth_user_change", "auth_user_delete", "authenticate",
	"fts3_tokenizer", "match", "matchinfo", "offsets", "optimize", "rtreecheck", "rtreedepth", "rtreenode", "snippet",
}

// builtinFTS5 are those of FTS5, where it is built in. Elsewhere a program may have given one of these names to its own function.
var builtinFTS5 = []string{"bm25", "fts5", "fts5_get_locale", "fts5_insttoken", "fts5_locale", "fts5_source_id", "highlight"}

// guestsAmong returns the functions that are the program's.
func guestsAmong(functions []string) []string {
	fts5 := slices.Contains(functions, "fts5_source_id")
	return slices.DeleteFunc(slices.Clone(functions), func(name string) bool {
		return slices.Contains(builtin, name) || fts5 && slices.Contains(builtinFTS5, name)
	})
}

// hasGuests reports that statements may call functions or collations of the program's. It asks SQLite once: a program
// registers them when the connection is opened.
func (c *connection) hasGuests() bool {
	if c.guests == unknown {
		c.guests = no
		functions, err1 := firstColumn(c.lite.Query("SELECT name FROM pragma_function_list WHERE NOT builtin", nil))
		collations, err2 := firstColumn(c.lite.Query("SELECT name FROM pragma_collation_list WHERE name NOT IN ('BINARY', 'NOCASE', 'RTRIM')", nil))
		if err1 != nil || err2 != nil || len(guestsAmong(functions))+len(collations) > 0 {
			c.guests = yes
		}
	}
	return c.guests == yes
}
