package record

// AtStart reports that a round is over and the next one has not begun.
func (s *Sweep) AtStart() bool { return s.place.From == 0 && s.pieces == 0 }
