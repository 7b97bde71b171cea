# heapctl on a pseudo-terminal: terminal.py BUILD CLOCK.SO FOLDER, with $HEAPD_SOCKET of a daemon whose heap "test" has something in it.
import fcntl, json, os, pty, re, select, shutil, struct, subprocess, sys, termios, time

build, clock, folder = sys.argv[1:4]
ctl = build + '/heapctl'
PATIENCE = 60 # seconds, for what does not come
bad = 0


def complain(what):
    global bad
    bad = 1
    print(what)


class Terminal:
    """A program on a terminal of its own, of so many lines and columns."""

    def __init__(self, args, lines=24, columns=80, stderr=None, **env):
        master, self.slave = pty.openpty()
        self.master = master
        self.before = termios.tcgetattr(self.slave)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', lines, columns, 0, 0))
        clean = {k: v for k, v in os.environ.items() if k not in ('NO_COLOR', 'PAGER', 'HEAPCTL_PAGER', 'LESS')}
        self.text = ''
        self.process = subprocess.Popen(
            args, stdin=self.slave, stdout=self.slave, stderr=stderr or self.slave, start_new_session=True,
            env={**clean, 'TERM': 'xterm', 'LC_ALL': 'C.UTF-8', **env}, close_fds=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.text += os.read(self.master, 65536).decode(errors='replace')
        return True

    def wait_for(self, pattern):
        """True once it was printed."""
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.text):
            if time.monotonic() > end or not self.read(1) and self.process.poll() is not None:
                return False
        return True

    def type(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        """Its exit status, when all that it printed was read. One that does not end is killed."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.05)
        while self.read(0):
            pass
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            return 'killed'
        return self.process.returncode

    def close(self):
        os.close(self.master)
        os.close(self.slave)


def status(name):
    out = subprocess.run([ctl, '-H', 'test', '--json=short', 'status'], capture_output=True, text=True, check=True).stdout
    return json.loads(out)['status'][0][name]


def check_pager():
    """What becomes the pager is no client: nobody attached but heapctl, and nobody died."""
    before = status('clients_ever')
    t = Terminal([ctl, '-H', 'test', 'roots'], HEAPCTL_PAGER='sed s/^/PAGED/')
    code = t.end()
    if code != 0 or 'PAGED' not in t.text:
        complain(f'roots, paged: exit status {code}: {t.text!r}')
    t.close()
    more = status('clients_ever') - before
    if more != 2: # it, and whoever asks
        complain(f'{more - 1} clients for one paged heapctl')


def check_top():
    """A frame fits, and each key that ends it leaves the terminal as it was."""
    for key in 'q', '\x03', '\x04':
        t = Terminal([ctl, '-H', 'test', 'top', '0.05'], lines=12)
        if not t.wait_for(r'(?s)q quits.*\x1b\[H.*q quits.*\x1b\[H'):
            complain(f'top does not go on: {t.text!r}')
        t.type(key)
        code = t.end()
        frame = t.text.split('\x1b[H\x1b[2J')[1]
        if code != 0:
            complain(f'top, ended by {key!r}: exit status {code}')
        if termios.tcgetattr(t.slave) != t.before:
            complain(f'top, ended by {key!r}, leaves the terminal as it is')
        if frame.count('\n') != 11 or max(map(len, frame.split('\r\n'))) > 80:
            complain(f'top: a frame of 12 lines and 80 columns is {frame!r}')
        t.close()


def bar(step, stderr, *args):
    """What a walk prints on a terminal whose clock goes on by so many ms at each look."""
    t = Terminal([ctl, '-H', 'test', '--no-pager', *args], stderr=stderr, LD_PRELOAD=clock, CLOCK_STEP_MS=str(step))
    code = t.end()
    text = t.text
    t.close()
    if code != 0:
        complain(f'{args} with a clock of {step} ms: exit status {code}: {text!r}')
    return text


def check_bars():
    """A bar for long work, that leaves nothing behind; none for short work, and none where standard error is no terminal."""
    cases = [('phases of the collection', 'CYCLE', ['gc']), ('reading objects', 'OBJECT', ['retained']), ('dominators', 'OBJECT', ['retained']),
             ('reading objects', 'CLASS', ['histo', '--live']), ('objects verified', 'FAULTS', ['verify']),
             ('writing objects and pointers', 'nodes in', ['snapshot', '-o', folder + '/x.heapsnapshot'])]
    for what, first, args in cases:
        shown = r'\r\x1b\[K' + what + r' \[#* *\] \d+ of \d+'
        text = bar(600, None, *args)
        steps = re.findall(shown, text)
        if not steps:
            complain(f'{args}: long work without a bar for {what}: {text[:300]!r}')
        elif not re.search(r'\d\r\x1b\[K[^\[\r]*' + first, text):
            complain(f'{args}: the bar is not taken away: {text[:300]!r}')
        if re.search(r'\[[# ]{20}\]', bar(0, None, *args)):
            complain(f'{args}: a bar for short work')
        with open(folder + '/errors', 'w+') as errors:
            text = bar(600, errors, *args)
            errors.seek(0)
            if re.search(r'\[[# ]{20}\]', text + errors.read()):
                complain(f'{args}: a bar where standard error is no terminal')
    # Into a pipe, where the bar would do no harm, it is shown.
    t = Terminal(['sh', '-c', f'"{ctl}" -H test snapshot >"{folder}/piped"'], LD_PRELOAD=clock, CLOCK_STEP_MS='600')
    t.end()
    if 'writing objects' not in t.text:
        complain('no bar for a snapshot that goes to a file by the shell')
    json.load(open(folder + '/piped'))
    t.close()


# What is typed before Tab, and what stands there then.
COMPLETED = [
    ('heapctl reta', 'heapctl retained'),
    ('heapctl -H te', 'heapctl -H test'),
    ('heapctl --heap=te', 'heapctl --heap=test'),
    ('heapctl --json=sh', 'heapctl --json=short'),
    ('heapctl --json short hist', 'heapctl --json short histo'),
    ('heapctl leaks --by=ro', 'heapctl leaks --by=root'),
    ('heapctl -H test config gc.per', 'heapctl -H test config gc.percent'),
    ('heapctl --heap=test config set gc.per', 'heapctl --heap=test config set gc.percent'),
    ('heapctl --no-l', 'heapctl --no-legend'),
    ('heapctl diff ' + 'before', 'heapctl diff before.pb.gz'),
]


def check_completion(name, args, prepare):
    """In a real shell: Ctrl-X Ctrl-S prints the line, and takes it away."""
    t = Terminal(args, columns=200, PATH=build + ':' + os.environ['PATH'], HOME=folder, INPUTRC='/dev/null')
    t.type(prepare + '; cd ' + folder + '; echo rea""dy\r')
    if not t.wait_for('ready'):
        complain(f'{name} does not begin: {t.text!r}')
    for typed, wanted in COMPLETED:
        t.text = ''
        t.type(typed + '\t\x18\x13')
        if not t.wait_for(r'<<.*>>'):
            complain(f'{name}: no answer to {typed!r}: {t.text!r}')
            break
        got = re.search(r'<<(.*)>>', t.text).group(1)
        # Whether a blank, or the = of a setting, follows is the shell's own matter.
        if got.rstrip(' =') != wanted:
            complain(f'{name} makes {got!r} of {typed!r}')
    t.process.kill()
    t.process.wait()
    t.close()


check_pager()
check_top()
check_bars()
open(folder + '/before.pb.gz', 'w').close()
check_completion('bash', ['bash', '--norc', '--noprofile', '-i'],
                 'stty -ixon; . ' + os.getcwd() + '/client/heapctl/completion.bash; '
                 "show() { echo \"<<$READLINE_LINE>>\"; READLINE_LINE=; }; bind -x '\"\\C-x\\C-s\": show'")
if shutil.which('zsh'):
    check_completion('zsh', ['zsh', '-f', '-i'],
                     f'stty -ixon; fpath=({os.getcwd()}/completion/zsh $fpath); autoload -Uz compinit; compinit -u -D; '
                     "show() { zle -I; print -r -- \"<<$BUFFER>>\"; BUFFER=; }; zle -N show; bindkey '^X^S' show")
sys.exit(bad)
