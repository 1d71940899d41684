package sqltext

// with reads the list of common table expressions and finds the main verb after it.
//
//	WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (...), ... verb
func (s *scanner) with() Class {
	if s.peek.kw == kwRecursive {
		s.advance()
	}
	for {
		s.naming = true
		s.advance()
		if s.tok.kind != word && s.tok.kind != quoted {
			return Unknown
		}
		s.advance()
		if s.tok.kind == '(' {
			s.parens()
		}
		if s.tok.kw != kwAs {
			return Unknown
		}
		s.advance()
		if s.tok.kw == kwNot && s.peek.kw == kwMaterialized {
			s.advance()
		}
		if s.tok.kw == kwMaterialized {
			s.advance()
		}
		if s.tok.kind != '(' {
			return Unknown
		}
		s.parens()
		if s.tok.kind != ',' {
			break
		}
	}
	s.verb, s.main = s.tok.kw, s.tok.start
	return s.plain(s.verb)
}

// parens skips from an opening parenthesis to its closing one, and leaves tok after that.
func (s *scanner) parens() {
	for outer := s.depth - 1; !s.done(); {
		s.advance()
		if s.tok.kind == ')' && s.depth == outer {
			s.advance()
			return
		}
	}
}
