# Prepares a node for Open MPI: an SSH server that lets the task's own key in, as long as the task runs.
set -eu
cd "$AZ_BATCH_TASK_WORKING_DIR"
own=$(ip -4 -o addr show dev eth0 | sed 's/.* inet \([0-9.]*\).*/\1/')
case ",$AZ_BATCH_HOST_LIST," in
*",$own,"*) ;;
*) echo "$own is not in $AZ_BATCH_HOST_LIST" >&2; exit 2 ;;
esac
install -m 600 "$AZ_BATCH_TASK_SHARED_DIR/key" key
ssh-keygen -q -t ed25519 -N '' -f hostkey
if [ "$(id -u)" = 0 ]; then mkdir -p /run/sshd; fi
cat > sshd_config <<C
Port 2222
ListenAddress $own
HostKey $PWD/hostkey
PidFile $PWD/sshd.pid
AuthorizedKeysFile $AZ_BATCH_TASK_SHARED_DIR/key.pub
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
C
"$(command -v sshd || echo /usr/sbin/sshd)" -f "$PWD/sshd_config" -E "$PWD/sshd.log"
echo "sshd listens on $own"
