package sqltext

import "strings"

// Classify reads query by the rules of d. It takes time in proportion to the length of query, makes no allocation for the
// statements that programs repeat, and does not panic for any query.
func Classify(d Dialect, query string) Statement {
	s := newScanner(d, query)
	first := s.tok.start

	var (
		count   int // of statements
		class   Class
		effects effect
		session bool
		sets    bool
		control int  // how many of the statements are Control
		tail    = -1 // behind the first semicolon
		opaque  bool
		pragma  bool
	)
	for s.tok.kind != end {
		if s.tok.kind == ';' {
			if tail < 0 {
				tail = s.tok.stop
			}
			s.advance()
			continue
		}
		s.begin()
		pragma = s.tok.kw == kwPragma
		class = s.statement()
		count++
		effects |= s.effects
		session = session || class == Session
		sets = sets || s.setting != ""
		opaque = opaque || s.mute
		if class == Control {
			control++
		}
	}

	behind := tail >= 0 && !isBlank(query[tail:])
	switch {
	case session:
		class = Session
	case s.torn && !opaque:
		class = suspect(d, query, s.doubtful(query, first), control > 0)
	case control > 0:
		class = Control
	case count != 1 || s.odd || behind:
		class = Unknown
	}
	st := Statement{
		Class:     class,
		Why:       s.why(class, count, behind, effects),
		Write:     class != Read || effects&writes != 0,
		Returning: s.returning,
		Empty:     count == 0,
		Sets:      sets,
		Schema:    !(class == Batch || class == Read || class == Control && control == count && !s.odd),
		Pragma:    count == 1 && pragma,
	}
	if class == Control && count == 1 && !s.torn && !s.odd {
		st.noteControl(d, query)
	}
	return st
}

// doubtful returns the byte from which on the text of torn tokens may be another statement. first is the first token's. The
// semicolons may not be where they seemed to be.
func (s *scanner) doubtful(query string, first int) int {
	if s.tornAt < first {
		return 0
	}
	if n := strings.IndexByte(query, ';'); n >= 0 {
		return n + 1
	}
	return len(query)
}

func isBlank(s string) bool {
	for i := range len(s) {
		if charClass[s[i]]&blank == 0 {
			return false
		}
	}
	return true
}

// statement classifies the statement that begins with tok, and leaves tok behind it.
func (s *scanner) statement() Class {
	class := s.classify()
	s.rest()
	switch {
	case s.sticky, s.effects&sticks != 0:
		return Session
	case s.control && class != Session:
		return Control
	case class == Batch && (s.unbalanced || s.noBatch || s.effects&bound != 0):
		return Unknown
	case class == Read && (s.unbalanced || s.noRead):
		return Unknown
	}
	return class
}

// classify classifies the statement by its first words, and reads on if they are not enough.
func (s *scanner) classify() Class {
	if class, ok := s.dialect.binds(s.tok.kw); ok {
		return class
	}
	switch verb := s.tok.kw; verb {
	case kwWith:
		return s.with()
	case kwInsert, kwUpdate, kwDelete, kwReplace, kwMerge, kwSelect, kwValues:
		return s.plain(verb)
	case kwCreate:
		return s.create()
	case kwAlter:
		if s.dialect == Generic {
			if s.peek.kw == kwSession {
				return Session
			}
			return s.create()
		}
	case kwPrepare:
		switch {
		case s.dialect == SQLite:
		case s.peek.kw == kwTransaction:
			return Control
		default:
			return Session
		}
	case kwLoad:
		switch s.peek.kw {
		case kwData, kwXml, kwIndex: // MySQL
		default:
			if s.dialect != SQLite {
				return Session
			}
		}
	case kwPragma:
		if s.dialect != Postgres {
			return s.pragma()
		}
	case kwExplain:
		if s.dialect == SQLite {
			return s.explain()
		}
	}
	return Unknown
}

// plain is the class of a statement by its main verb.
func (s *scanner) plain(verb keyword) Class {
	switch verb {
	case kwUpdate:
		if s.peek.kw == kwStatistics && s.dialect == Generic {
			return Unknown // SQL Server
		}
		return Batch
	case kwInsert, kwDelete:
		return Batch
	case kwReplace:
		if s.dialect != Postgres {
			return Batch
		}
	case kwMerge:
		if s.dialect != SQLite {
			return Batch
		}
	case kwSelect, kwValues:
		return Read
	}
	return Unknown
}
