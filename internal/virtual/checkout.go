package virtual

import "github.com/groupcommit/groupcommit/internal/sqltext"

// A checkout is one use of a Conn, from when database/sql takes it out of its pool until database/sql has it back.
type checkout struct {
	uses   int               // statements so far
	back   bool              // database/sql has the Conn back
	set    []sqltext.Setting // what the only statement so far has set
	onlyBy bool              // nothing but set binds the Conn
	early  bool              // the physical connection was given back before the checkout was over: see restoreAndGiveBack
}

// over ends it.
func (u *checkout) over() { u.uses, u.early = 0, false }

// manyUses is for how many statements in a row a Conn has to be used for the program's pool to be taken for one that keeps
// connections, where a wrapper above us does not show what that pool does.
const manyUses = 16

// count counts a statement, and reports whether it shows that the pool has kept the Conn.
func (u *checkout) count() (kept bool) {
	u.uses++
	return u.back || u.uses == manyUses
}
