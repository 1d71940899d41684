package sqltext

// Why says what keeps a text from being [Batch].
type Why uint8

const (
	Nothing   Why = iota // it is Batch
	Blank                // there is no statement in it
	Reads                // it only reads
	Several              // it has several statements
	Controls             // it begins, ends or divides a transaction
	Changes              // it changes the session
	Asks                 // it asks or uses the session, or the extent of the transaction: a function, a variable, a clause
	Unread               // its tokens are not understood, or may be read in two ways
	OtherKind            // it is a statement of another kind, such as CREATE or CALL
)

// why explains the class of a text. The scanner is behind its last statement.
func (s *scanner) why(class Class, count int, tail bool, effects effect) Why {
	switch {
	case class == Batch:
		return Nothing
	case class == Session:
		return Changes
	case class == Control:
		return Controls
	case s.torn, s.odd:
		return Unread
	case count == 0:
		return Blank
	case count > 1, tail:
		return Several
	case class == Read:
		return Reads
	case effects&bound != 0, s.noBatch:
		return Asks
	case s.unbalanced:
		return Unread
	}
	return OtherKind
}
