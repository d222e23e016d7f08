package bot

func benchRound(d *Desk) { d.tellSeen(d.round()) }
