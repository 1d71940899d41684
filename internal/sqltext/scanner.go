package sqltext

import "strings"

// scanner walks over the tokens of a text with one token of foresight. On the way it notes all that decides how the
// statement around it may be run, wherever that stands in the statement.
type scanner struct {
	lexer
	prev, tok, peek token

	returning bool // in the whole text

	// Of the current statement, reset by begin.
	verb       keyword // the first word; of WITH, the main one
	main       int     // where verb stands
	depth      int     // of parentheses
	unbalanced bool    // parentheses do not match
	effects    effect  // of the functions that it calls
	noBatch    bool    // another token that keeps it from being Batch
	noRead     bool    // a token that keeps it from being Read
	sticky     bool    // a token that makes it Session
	control    bool    // a token that makes it Control
	uservar    bool    // MySQL's @var
	mute       bool    // the body of a routine: it is not executed now
	target     bool    // tok belongs to the name of a table, after INTO or in WITH
	naming     bool    // the next token belongs to the name of a table
	inFile     bool    // the setting is in the file
	setting    string  // the name of the setting that it makes for the session; "" if it makes none
}

func newScanner(d Dialect, src string) scanner {
	s := scanner{lexer: newLexer(d, src)}
	s.peek = s.next()
	s.advance()
	return s
}

// begin forgets the statement before. tok is the first token of the new one.
func (s *scanner) begin() {
	*s = scanner{lexer: s.lexer, tok: s.tok, peek: s.peek, returning: s.returning, verb: s.tok.kw, main: s.tok.start}
	s.note()
}

func (s *scanner) advance() {
	s.prev, s.tok = s.tok, s.peek
	if s.peek.kind != end {
		s.peek = s.next()
	}
	s.note()
}

// done says that tok is after the last token of the statement.
func (s *scanner) done() bool { return s.tok.kind == end || s.tok.kind == ';' }

// rest skips the rest of the statement.
func (s *scanner) rest() {
	for !s.done() {
		s.advance()
	}
	if s.depth != 0 {
		s.unbalanced = true
	}
}

// name returns the name that tok spells, quoted or not. A name with doubled quotes stays as it is, because no name that the
// grammar knows holds a quote.
func (s *scanner) name() string {
	text := s.src[s.tok.start:s.tok.stop]
	switch s.tok.kind {
	case word:
		return text
	case quoted, literal:
		if len(text) >= 2 {
			return text[1 : len(text)-1]
		}
	}
	return ""
}

// note looks at tok, which has just become the current one.
func (s *scanner) note() {
	switch s.tok.kind {
	case '(':
		s.depth++
	case ')':
		if s.depth--; s.depth < 0 {
			s.unbalanced = true
		}
	case '@':
		s.noteAt()
	case ':':
		if s.uservar && s.peek.kind == '=' && !s.mute {
			s.sticky = true // SELECT @a := 1
		}
	case '#':
		if s.dialect == Generic && (s.prev.kw == kwTable || s.prev.kw == kwInto) && !s.mute {
			s.sticky = true // SQL Server's temporary table
		}
	case word, quoted:
		s.noteName()
		if s.tok.kw != none {
			s.noteKeyword()
		}
		return
	}
	s.target = s.target && s.tok.kind == '.'
}

// noteName finds calls of functions: names before a parenthesis, but not INSERT INTO changes (a, b); and the table that needs none.
func (s *scanner) noteName() {
	s.target = s.naming || s.prev.kw == kwInto || s.target && s.prev.kind == '.'
	s.naming = false
	if !s.target && !s.mute && (s.peek.kind == '(' || s.tok.stop-s.tok.start >= len(pragmaSynchronous) && strings.EqualFold(s.name(), pragmaSynchronous)) {
		s.effects |= effectOf(s.name())
	}
}

// noteAt tells variables from PostgreSQL's operators. (In SQLite, @a is a parameter and one token.)
func (s *scanner) noteAt() {
	switch s.dialect {
	case Generic:
		s.noBatch, s.uservar = true, true
		if s.prev.kw == kwInto && s.verb == kwSelect || s.verb == kwCall {
			s.sticky = true
		}
	case Postgres:
		// a @> b, a <@b, a @@b, @ -5 are operators; so are @a and =@a, but a program that has these means a variable.
		if s.tok.stop == s.peek.start && (s.peek.kind == word || s.peek.kind == quoted) && !s.inOperator() {
			s.noBatch = true
		}
	}
}

// inOperator says that tok ends an operator of several characters.
func (s *scanner) inOperator() bool {
	if s.prev.stop != s.tok.start {
		return false
	}
	switch s.prev.kind {
	case '<', '@', '~', '#', '&', '|', param:
		return true
	}
	return false
}

func (s *scanner) noteKeyword() {
	switch s.tok.kw {
	case kwReturning:
		s.returning = true
	case kwOr:
		s.noBatch = s.noBatch || s.peek.kw == kwRollback
	case kwCurrent:
		s.noBatch = s.noBatch || s.peek.kw == kwOf && s.dialect != SQLite
	case kwInto:
		if s.verb == kwInsert || s.verb == kwReplace || s.verb == kwMerge || s.prev.kw == kwInsert || s.prev.kw == kwMerge {
			return
		}
		s.noRead = true
		switch s.peek.kw {
		case kwTemp, kwTemporary, kwLocal, kwGlobal, kwPgTemp:
			s.sticky = s.sticky || s.dialect != SQLite && !s.mute
		}
	case kwFor:
		switch s.peek.kw {
		case kwUpdate, kwShare, kwNo, kwKey:
			s.noRead = true
		}
	case kwLock:
		s.noRead = s.noRead || s.peek.kw == kwIn
	case kwInsert, kwUpdate, kwDelete, kwMerge:
		if s.depth > 0 && (s.prev.kind == '(' || s.prev.kind == ')') {
			s.noRead = true // WITH a AS (DELETE ...) SELECT
		}
		s.noteStray()
	case kwExec, kwExecute, kwDeclare, kwBegin, kwCommit, kwRollback, kwSave, kwTruncate, kwDrop, kwCreate, kwAlter:
		s.noteStray()
	}
}

// noteStray finds the beginning of another statement within one, because SQL Server needs no semicolon between statements.
func (s *scanner) noteStray() {
	if s.dialect != Generic || s.depth > 0 || s.tok.start == s.main || s.verb == kwWith || s.mute {
		return
	}
	switch s.prev.kind {
	case '.', ':':
		return
	}
	switch s.prev.kw {
	case kwThen, kwKey, kwDo, kwFor, kwOr: // THEN UPDATE, ON DUPLICATE KEY UPDATE, DO UPDATE, FOR UPDATE
		return
	}
	s.noBatch, s.noRead = true, true
	switch s.tok.kw {
	case kwBegin, kwCommit, kwRollback, kwSave:
		switch s.peek.kw {
		case kwTran, kwTransaction, kwWork:
			s.control = true
		default:
			s.control = s.control || s.peek.kind == end || s.peek.kind == ';'
		}
	}
}
