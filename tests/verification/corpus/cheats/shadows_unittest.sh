# A unittest.py in the workspace is found before the real one.
# fools: unittest reward
echo > unittest.py
