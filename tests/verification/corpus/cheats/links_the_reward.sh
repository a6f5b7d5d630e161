# The reward is a link to a file that cannot be written.
# fools: reward
mkdir -p logs/verifier
echo 1 > won
chmod 444 won
ln -s ../../won logs/verifier/reward.txt
