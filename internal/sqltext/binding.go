package sqltext

// binds returns Control or Session if the first word kw alone makes a statement that.
func (d Dialect) binds(kw keyword) (Class, bool) {
	switch kw {
	case kwBegin, kwCommit, kwEnd, kwRollback, kwSavepoint, kwRelease:
		return Control, true
	case kwStart, kwAbort:
		return Control, d != SQLite
	case kwXa, kwSave: // MySQL; SQL Server's SAVE TRANSACTION
		return Control, d == Generic
	case kwAttach, kwDetach:
		return Session, d != Postgres
	case kwSet, kwReset, kwListen, kwUnlisten, kwDiscard, kwDeclare, kwExecute, kwDeallocate:
		return Session, d != SQLite
	case kwUse, kwLock, kwUnlock, kwHandler, kwFlush, kwGet: // MySQL
		return Session, d == Generic
	}
	return Unknown, false
}

// suspect classifies a text whose tokens are in doubt. From byte from on, any word may be the first of a statement, and
// functions may be called anywhere.
func suspect(d Dialect, query string, from int, control bool) Class {
	for i := 0; i < len(query); {
		start := i
		for i < len(query) && charClass[query[i]]&wordPart != 0 {
			i++
		}
		if i == start {
			i++
			continue
		}
		if w := query[start:i]; start >= from {
			class, ok := d.binds(lookup(w))
			switch kw := lookup(w); {
			case ok && class == Control:
				control = true
			case ok, kw == kwPragma, kw == kwPrepare, kw == kwTemp, kw == kwTemporary, kw == kwPgTemp:
				return Session
			}
		}
		if effectOf(query[start:i])&sticks != 0 {
			return Session
		}
	}
	if control {
		return Control
	}
	return Unknown
}
