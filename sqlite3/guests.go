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

// hasGuests reports that statements may call functions or collations of the program's. It asks SQLite once: a program
// registers them when the connection is opened.
func (c *connection) hasGuests() bool {
	if c.guests == unknown {
		c.guests = no
		functions, err1 := firstColumn(c.lite.Query("SELECT name FROM pragma_function_list WHERE NOT builtin", nil))
		collations, err2 := firstColumn(c.lite.Query("SELECT name FROM pragma_collation_list WHERE name NOT IN ('BINARY', 'NOCASE', 'RTRIM')", nil))
		own := slices.DeleteFunc(functions, func(name string) bool { return slices.Contains(builtin, name) })
		if err1 != nil || err2 != nil || len(own)+len(collations) > 0 {
			c.guests = yes
		}
	}
	return c.guests == yes
}
